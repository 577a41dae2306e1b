"""What a job took, phase by phase, and who opened its test set."""

from athanor.progress import phase_spans
from athanor.report.values import Costs, Opening, Phase
from search.job import Job
from search.store import StudyStore


def costs_of(job: Job, *, joules: float | None) -> Costs:
    """Return the phases that have ended, by the clock and in seconds of all processors."""
    spans, processor = phase_spans(job.phases), phase_spans(job.processor_phases)
    return Costs(
        phases=tuple(Phase(name, span, processor.get(name, 0.0)) for name, span in spans.items()),
        seconds=job.seconds_used,
        processor_seconds=job.processor_seconds,
        budget=job.spec.budget,
        device_budget=job.spec.device_budget,
        search_planned=None if job.plan is None else job.plan.search_seconds,
        joules=joules,
    )


def openings_of(store: StudyStore, job: Job) -> tuple[Opening, ...]:
    """Return every look at the job's test set by a job of this store, the first one first.

    Of a job that is not prepared nobody knows which rows these are.
    """
    if job.plan is None:
        return ()
    return tuple(
        Opening(each.job_id, each.opened_by, each.reason, each.opened_at, each.score)
        for each in store.test.all(job.plan.test_rows)
    )
