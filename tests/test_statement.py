"""What the final statement says of a job's time."""

import time

import pytest

from athanor.progress import Progress
from athanor.statement import early_line, phases_line
from search.job import Job
from search.job_spec import JobSpec
from search.plan import Plan
from tests.records import record


def ended(*, landing: float = 60.0) -> Job:
    """Return a job of two minutes whose search had time until second 70."""
    phases = {
        "queued": 0.0,
        "preparing": 2.0,
        "searching": 10.0,
        "landing": landing,
        "assembling": 110.0,
        "done": 115.0,
    }
    return Job(
        id="digits-1",
        state="done",
        priority=0,
        spec=JobSpec.parse({"data": "digits", "budget": "2m"}),
        plan=Plan.model_construct(search_seconds=70.0),
        error=None,
        created_at=time.time(),
        seconds_used=115.0,
        phases=phases,
        result={},
    )


def test_each_phase_is_compared_with_what_it_had() -> None:
    assert phases_line(ended()) == (
        "starting 0:02, preparing 0:08, searching 0:50 of 1:00, landing 0:50 of 1:00, "
        "assembling 0:05 of 0:10; 1:55 of 2:00 promised"
    )


@pytest.mark.parametrize(
    ("landing", "trials", "said"),
    [
        (
            40.0,
            30,
            "no trial clearly beat the default network, whose training has the time that was left",
        ),
        (40.0, 5, "networks are slower than was foreseen, and the best would hardly be trained"),
        (69.5, 30, None),
    ],
)
def test_why_a_search_ended_before_its_time(landing: float, trials: int, said: str | None) -> None:
    records = [record(number, 0.9) for number in range(trials)]
    line = early_line(Progress(job=ended(landing=landing), trials=records, folds=[]))
    assert line == (None if said is None else f"the search ended before its time: {said}")
