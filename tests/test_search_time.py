"""A search ends as planned, or earlier where its finalists would be hardly trained."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.job_spec import JobSpec
from search.metrics import METRICS
from search.plan import Plan
from spaces.errors import JobFailed
from tests.records import record
from tests.small_job import bench_of, prepared
from workers.search_time import search_end
from workers.steps import next_step

PLANNED, ROWS = 40.0, 10_000


@pytest.mark.parametrize(
    ("pace", "end"),
    [
        (None, PLANNED),  # nothing has been measured
        (1e-5, PLANNED),
        (3e-3, 120.0 - 6.0 - 2 * (2.0 * 8000 * 3e-3 + 0.5)),  # two rounds of two passes each
    ],
)
def test_the_finalists_of_slow_networks_have_more_time(pace: float | None, end: float) -> None:
    board = [replace(record(0, 0.9), train_pace=pace, predict_pace=1e-9)]
    bench: Any = SimpleNamespace(
        plan=Plan.model_construct(
            search_seconds=PLANNED, survivors=1, folds=4, final="bag", workers=2
        ),
        job=SimpleNamespace(spec=JobSpec.parse({"data": "digits", "budget": "2m"})),
        trials=SimpleNamespace(leaderboard=lambda: board),
        data=SimpleNamespace(train_labels=np.zeros(ROWS), test_labels=np.zeros(900), classes=2),
        folds=SimpleNamespace(
            folds=[SimpleNamespace(validation_rows=range(ROWS // 5))] * 5, groups=None
        ),
        metric=METRICS["accuracy"],
    )
    assert search_end(bench) == pytest.approx(end, abs=0.01)


def test_a_search_by_trials_whose_limits_fit_no_network_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Infeasible trials are none of those that were asked for: without a rule it would not end."""
    monkeypatch.setattr("workers.steps.MAX_INFEASIBLE", 3)
    store, job, worker = prepared(tmp_path, trials=1, max_latency=1e-9)
    with bench_of(store, job, worker) as bench:
        for _ in range(3):
            next_step(bench, "searching")
        with pytest.raises(JobFailed, match="but the last 3 sampled were not"):
            next_step(bench, "searching")
    store.close()
