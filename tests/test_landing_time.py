"""How much time a landing keeps for what comes after its folds."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.folds import ALL_ROWS
from search.plan import Plan
from search.store import FoldTask
from tests.small_job import bench_of, prepared, take_steps
from workers.device import DevicePlan
from workers.landing_time import SAMPLE_ROWS, _exported, _network_pace, verifying_seconds

PACE = 0.01  # seconds to predict an image


@pytest.fixture(autouse=True)
def nothing_measured() -> Iterator[None]:
    """Paces are measured once a process."""
    _network_pace.cache_clear()
    yield
    _network_pace.cache_clear()


def test_trials_on_a_gpu_do_not_tell_how_fast_the_processor_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked: list[DevicePlan] = []

    def measured(*_: Any, batch: int, plan: DevicePlan, **__: Any) -> float:
        asked.append(plan)
        return batch * PACE

    monkeypatch.setattr("workers.landing_time.measure_latency", measured)
    monkeypatch.setattr("workers.landing_time.usable_cores", lambda: 1)
    store, job, worker = prepared(tmp_path, trials=1, budget="60s")
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
        folds = store.folds.all(job.id)
        rows = len(folds) * (len(bench.data.test_labels) + SAMPLE_ROWS)
        on_processor = verifying_seconds(bench, folds, folds)
        assert not asked and 0.0 < on_processor < rows * PACE
        bench.__dict__["device"] = DevicePlan(device="cuda")
        for _ in range(2):
            assert verifying_seconds(bench, folds, folds) == pytest.approx(rows * PACE)
    assert asked == [DevicePlan()]
    store.close()


@pytest.mark.parametrize(("refits", "networks"), [(2, 2), (1, 8), (0, 8)])
def test_unless_all_are_refitted_all_folds_may_have_to_be_verified(
    refits: int, networks: int
) -> None:
    folds = [(trial, fold) for trial in (3, 5) for fold in range(1, 5)]
    folds += [(trial, ALL_ROWS) for trial in (3, 5)[:refits]]
    tasks = [FoldTask("job", trial, fold, 0, "planned", None, None, None) for trial, fold in folds]
    plan = Plan.model_construct(final="refit", survivors=2, folds=4)
    bench: Any = SimpleNamespace(plan=plan)
    assert _exported(bench, tasks) == networks
