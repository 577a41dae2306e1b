"""Warm start: read the best trials of an earlier job when a new one is submitted."""

from rich.console import Console

from athanor.places import Places
from search.job_spec import JobSpec
from search.store import StudyStore
from search.warm_start import MOST, fitted
from spaces.errors import JobError
from spaces.points import parameters_of


def with_earlier_trials(spec: JobSpec, places: Places, console: Console) -> JobSpec:
    """Return the job with the parameters of the earlier job's best trials; say what is dropped.

    Raises:
        JobError: there is no such job, or none of its trials has a score or fits the space.
    """
    warm = spec.warm_start
    if warm is None or warm.job is None or warm.parameters:
        return spec
    store = Places.of(warm.store, None).open() if warm.store else places.open()
    try:
        found = _best_parameters(store, warm.job)
    finally:
        store.close()
    fit = fitted(found, parameters_of(spec.space))
    if not fit.trials:
        raise JobError(f"a warm start needs trials that fit the space, but {warm.job} has none")
    told = [f"warm start with {len(fit.trials)} of the best trials of {warm.job}"]
    for line in (*told, *(f"warm start: dropped {reason}" for reason in fit.dropped)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    changed = warm.model_copy(update={"parameters": fit.trials})
    return spec.model_copy(update={"warm_start": changed})


def _best_parameters(store: StudyStore, job_id: str) -> list[dict[str, object]]:
    job = store.jobs.get(job_id)
    trials = store.trials(job) if job.plan is not None else None
    board = [] if trials is None else trials.leaderboard()
    if trials is None or not board:
        raise JobError(f"a warm start needs trials with a score, but {job_id} has none")
    by_number = trials.study.get_trials(deepcopy=False)
    return [dict(by_number[record.number].params) for record in board[:MOST]]
