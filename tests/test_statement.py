"""What the final statement says of a job's time."""

import time

from athanor.statement import phases_line
from search.job import Job
from search.job_spec import JobSpec
from search.plan import Plan


def test_each_phase_is_compared_with_what_it_had() -> None:
    phases = {
        "queued": 0.0,
        "preparing": 2.0,
        "searching": 10.0,
        "landing": 60.0,
        "assembling": 110.0,
        "done": 115.0,
    }
    job = Job(
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
    assert phases_line(job) == (
        "starting 0:02, preparing 0:08, searching 0:50 of 1:00, landing 0:50 of 1:00, "
        "assembling 0:05 of 0:10; 1:55 of 2:00 promised"
    )
