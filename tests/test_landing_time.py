"""How much time a landing keeps for what comes after its folds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.combining import Combining
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.metrics import METRICS
from search.plan import Plan
from search.predictions import OutOfFoldPredictions
from search.store import FoldTask
from search.store.results import FoldState
from tests.small_job import bench_of, prepared, take_steps
from workers.device import DevicePlan
from workers.landing_time import (
    ASSEMBLY_SECONDS,
    ASSEMBLY_SHARE,
    RANKING_PACE,
    SAMPLE_ROWS,
    STACKING_PACE,
    _exported,
    _network_pace,
    folds_deadline,
    seconds_for,
    stacking_seconds,
    verifying_seconds,
)

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


@pytest.mark.parametrize(
    ("hands", "seconds"), [(2, 20.0), (8, 80.0), (9, 80.0), (0, 10.0)], ids=str
)
def test_folds_share_the_time_among_the_workers_that_are_there(
    hands: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was planned for eight, of which two are left, has eight folds in four rounds."""
    monkeypatch.setattr("workers.landing_time.folds_deadline", lambda *_: 500.0)
    tasks = [FoldTask("job", 0, fold, 0, "planned", None, None, None) for fold in range(1, 9)]
    bench: Any = SimpleNamespace(
        plan=SimpleNamespace(workers=8),
        job=SimpleNamespace(id="job"),
        heartbeat=SimpleNamespace(seconds_until=lambda _: 80.0),
        store=SimpleNamespace(
            folds=SimpleNamespace(all=lambda _: tasks),
            beats=SimpleNamespace(hands=lambda _: hands),
        ),
    )
    assert seconds_for(bench, tasks[0], tasks) == seconds


@pytest.mark.parametrize("folds", [1, 4])
def test_as_many_rankings_are_foreseen_as_a_choice_takes(folds: int) -> None:
    ranked: list[int] = []
    members, rows, classes = 3, 120, 2

    def noted(targets: Any, predictions: Any) -> float:
        ranked.append(len(targets))
        return METRICS["roc_auc"].score(targets, predictions)

    metric = replace(METRICS["roc_auc"], score=noted)
    generator = np.random.default_rng(0)
    targets, parts = np.arange(rows) % classes, np.split(np.arange(rows), folds)
    predictions = {
        f"m{member}": OutOfFoldPredictions.empty(targets, classes).with_fold(
            np.arange(rows), generator.dirichlet([1.0, 1.0], rows).astype(np.float32)
        )
        for member in range(members)
    }
    combining = Combining(seed=0, metric=metric)
    for _ in range(2):  # for the model, and to know whether there is anything to stack
        combining.mean(predictions)
    for stacked in (False, True, False):  # of the comparison, and of the estimate
        replace(combining, stacked=stacked).cross_fitted(predictions, parts)
    bench: Any = SimpleNamespace(
        plan=Plan.model_construct(final="bag", folds=folds),
        metric=metric,
        folds=SimpleNamespace(
            folds=[None, *(SimpleNamespace(validation_rows=part) for part in parts)]
        ),
        data=SimpleNamespace(train_labels=targets, classes=classes),
    )
    besides = STACKING_PACE * members * rows * classes
    foreseen = (stacking_seconds(bench, members) - besides) / (RANKING_PACE * classes)
    assert 0.7 * foreseen < sum(ranked) < 1.1 * foreseen


def planned(trial: int, fold: int, *, state: FoldState = "planned") -> FoldTask:
    return FoldTask("job", trial, fold, 0, state, None, None, None)


def test_time_to_stack_is_kept_for_survivors_alone_and_never_much_of_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("scoring_seconds", "verifying_seconds"):
        monkeypatch.setattr(f"workers.landing_time.{name}", lambda *_: 0.0)
    monkeypatch.setattr("workers.landing_time._exported", lambda *_: 1)
    monkeypatch.setattr("workers.landing_time.stacking_seconds", lambda _, members: 8.0 * members)
    tasks = [planned(trial, fold) for trial in range(8) for fold in (JUDGING_FOLD, 1, 2)]

    def deadline(*, budget: float, survivors: int) -> float | None:
        spec, plan = SimpleNamespace(budget=budget), SimpleNamespace(survivors=survivors)
        bench: Any = SimpleNamespace(job=SimpleNamespace(spec=spec), plan=plan)
        return folds_deadline(bench, tasks)

    besides = ASSEMBLY_SECONDS + ASSEMBLY_SHARE * 1000.0
    assert deadline(budget=1000.0, survivors=1) == pytest.approx(1000.0 - besides - 8.0)
    assert deadline(budget=1000.0, survivors=2) == pytest.approx(1000.0 - besides - 16.0)
    short = deadline(budget=100.0, survivors=2)  # where 16 seconds would be a sixth
    assert short == pytest.approx(100.0 - ASSEMBLY_SECONDS - 2.0 - 5.0)


def test_what_the_first_heats_have_shown_gives_later_ones_no_other_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deadline(_: Any, tasks: list[FoldTask]) -> float:
        return 900.0 if any(task.done for task in tasks) else 500.0

    monkeypatch.setattr("workers.landing_time.folds_deadline", deadline)
    tasks = [planned(trial, fold) for trial in range(4) for fold in (JUDGING_FOLD, 1)]
    plan = Plan.model_construct(workers=2, race_share=0.1)
    bench: Any = SimpleNamespace(
        plan=plan,
        job=SimpleNamespace(id="job"),
        heartbeat=SimpleNamespace(seconds_until=lambda second: second - 100.0),
        store=SimpleNamespace(
            folds=SimpleNamespace(all=lambda _: tasks),
            jobs=SimpleNamespace(get=lambda _: SimpleNamespace(phases={"landing": 100.0})),
        ),
    )
    before = seconds_for(bench, tasks[-2], tasks)
    assert before == pytest.approx(400.0 * 0.1 / 2)
    tasks[0] = planned(0, JUDGING_FOLD, state="done")
    assert seconds_for(bench, tasks[-2], tasks) == before


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
