"""How far a search is: a row of the store."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from search.job_spec import JobSpec
from search.plan import Plan

JobState = Literal[
    "queued", "preparing", "searching", "landing", "assembling", "done", "failed", "cancelled"
]
ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Job:
    """A job's row: what was asked, what was planned, how far it is.

    Attributes:
        seconds_used: wall-clock seconds in which at least one process worked on the job.
        phases: for each state that the job entered, `seconds_used` at that moment.
        processor_seconds, processor_phases: the same in seconds of processors, of the workers and
            of the command that searches.
        result: test score and where the model folder is, once the job is done.
        paused: nobody works on it until it is let go on.
    """

    id: str
    state: JobState
    priority: int
    spec: JobSpec
    plan: Plan | None
    error: str | None
    created_at: float
    seconds_used: float
    phases: dict[str, float]
    result: dict[str, Any] | None
    paused: bool = False
    processor_seconds: float = 0.0
    processor_phases: dict[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self.state in ENDED

    @property
    def seconds_left(self) -> float:
        """Seconds of the budget that are left; infinite without a budget."""
        return math.inf if self.spec.budget is None else self.spec.budget - self.seconds_used

    @classmethod
    def from_row(cls, row: Any) -> "Job":
        """Build from a row of the table `jobs`."""
        return cls(
            id=row.id,
            state=row.state,
            priority=row.priority,
            spec=JobSpec.from_json(row.spec),
            plan=None if row.plan is None else Plan.from_json(row.plan),
            error=row.error,
            created_at=row.created_at,
            seconds_used=row.seconds_used,
            phases=dict(row.phases),
            result=row.result,
            paused=row.paused,
            processor_seconds=row.processor_seconds,
            processor_phases=dict(row.processor_phases),
        )
