"""What there is to do next in a job: one trial, one fold, or the step from a phase to the next.

Every step is taken under a lease, so any worker can take any of them, and another one can
take it over when its holder dies.
"""

from collections.abc import Callable

from optuna.trial import Trial

from search.finalists import Race
from search.folds import JUDGING_FOLD
from search.job import JobState
from search.store import FoldTask, Lease
from spaces.errors import JobFailed
from workers.assembly import assemble
from workers.finalist import fold_overhead, run_fold
from workers.landing import choose_finalists, seconds_for
from workers.retention import tidy, tidy_job, tidy_models
from workers.stepping import is_out_of_memory
from workers.training import Diverged
from workers.trial import run_trial
from workers.workbench import Workbench

MAX_ATTEMPTS = 3  # at one piece of work; fewer than the deaths after which the pool gives up
MAX_LANDINGS = 10  # attempts at the last step: by then the whole job's work is at stake
MIN_FOLD_SECONDS = 0.3  # of training; with less time than this a fold is not begun
MAX_INFEASIBLE = 300  # in a row, after which the space and its limits do not fit each other


class Waiting(Exception):
    """There is nothing to do at the moment: others hold all there is."""


def next_step(bench: Workbench, state: JobState) -> None:
    """Take one step of a planned job.

    Raises:
        Waiting: there is nothing to do now.
        Stopped: the work had to stop; its lease has been released.
        JobFailed: the job cannot be finished.
    """
    steps: dict[str, Callable[[Workbench], None]] = {
        "searching": _search,
        "landing": _land,
        "assembling": _assemble,
    }
    steps[state](bench)


def _search(bench: Workbench) -> None:
    running = bench.trials.running()
    held = bench.store.leases.held(f"{bench.job.id}/trial/")
    for trial in running:
        if f"{bench.job.id}/trial/{trial.number}" not in held:
            _run(bench, trial)
            return
    if bench.heartbeat.seconds_until(bench.plan.search_seconds) > 0.0 or not _scored(bench):
        _check_space(bench)
        if bench.store.jobs.take_trial_slot(bench.job.id, limit=_trial_limit(bench)):
            _run(bench, bench.trials.ask())
            return
    if running:
        raise Waiting
    _begin_landing(bench)


def _run(bench: Workbench, trial: Trial) -> None:
    with bench.lease(f"trial/{trial.number}") as lease:
        if lease is None or bench.trials.ended(trial):
            return
        if lease.attempts > MAX_ATTEMPTS:
            bench.trials.tell(trial, "failed", note=_quarantine_note(bench, lease))
            tidy(bench.files.trial(trial.number), until=lease.fence)
        else:
            run_trial(bench, trial, lease)


def _quarantine_note(bench: Workbench, lease: Lease) -> str:
    reason = bench.store.leases.reason(lease)
    last = f"; the last one: {reason}" if reason else ""
    return f"given up after {MAX_ATTEMPTS} attempts without an epoch in between{last}"


def _trial_limit(bench: Workbench) -> int | None:
    """Return how many trials may be asked for: infeasible ones count for nothing."""
    trials = bench.job.spec.trials
    return None if trials is None else trials + _count_infeasible(bench)


def _count_infeasible(bench: Workbench) -> int:
    return sum(record.state == "infeasible" for record in bench.trials.records())


def _is_in(bench: Workbench, state: JobState) -> bool:
    """Whether the job still is in a state, asked under the lease that moves it on."""
    return bench.store.jobs.get(bench.job.id).state == state


def _scored(bench: Workbench) -> bool:
    return bool(bench.trials.leaderboard())


def _check_space(bench: Workbench) -> None:
    last = bench.trials.records()[-MAX_INFEASIBLE:]
    if len(last) == MAX_INFEASIBLE and all(record.state == "infeasible" for record in last):
        raise JobFailed(
            f"some network of the space must be within the limits {bench.plan.limits.to_json()}, "
            f"but the last {MAX_INFEASIBLE} sampled were not"
        )


def _begin_landing(bench: Workbench) -> None:
    with bench.lease("landing") as lease:
        alone = lease is not None and not bench.trials.running()
        if alone and _is_in(bench, "searching"):
            _plan_landing(bench)
    if not alone:
        raise Waiting


def _plan_landing(bench: Workbench) -> None:
    limit = _trial_limit(bench)
    if limit is not None and bench.store.jobs.return_trial_slots(
        bench.job.id, asked=len(bench.trials.records()), limit=limit
    ):
        return  # a worker died between counting a trial and asking for it
    plan = bench.plan
    finalists = [record.number for record in choose_finalists(bench)]
    races = plan.races and len(finalists) > plan.survivors
    folds = range(JUDGING_FOLD if races else JUDGING_FOLD + 1, plan.folds + 1)
    bench.store.folds.plan(bench.job.id, trials=finalists, folds=folds)
    bench.store.jobs.move(bench.job.id, before="searching", after="landing")


def _land(bench: Workbench) -> None:
    planned = bench.store.folds.all(bench.job.id)
    race = Race(planned, survivors=bench.plan.survivors)
    beaten = race.beaten
    for task in beaten:
        bench.store.folds.give_up(task, reason="beaten in the race")
    tasks = [task for task in race.ranked(planned) if task.pending and task not in beaten]
    held = bench.store.leases.held(f"{bench.job.id}/fold/")
    free = [task for task in tasks if _fold_key(bench, task) not in held]
    records = bench.trials.records()
    for task in race.open(free):
        seconds = seconds_for(bench, task, free)
        if seconds - fold_overhead(bench, task, records[task.trial]) < MIN_FOLD_SECONDS:
            # the last fold of the worst finalist goes first: the others share its time
            last = task if task.fold == JUDGING_FOLD else free[-1]
            bench.store.folds.give_up(last, reason="no time left")
            return
        if _run_fold(bench, task, seconds):
            return
    if tasks:
        raise Waiting
    bench.store.jobs.move(bench.job.id, before="landing", after="assembling")


def _fold_key(bench: Workbench, task: FoldTask) -> str:
    return f"{bench.job.id}/fold/{task.trial}/{task.fold}"


def _run_fold(bench: Workbench, task: FoldTask, seconds: float) -> bool:
    """Train a fold if its lease can be had; False if another worker was faster."""
    with bench.lease(f"fold/{task.trial}/{task.fold}") as lease:
        if lease is None:
            return False
        if task not in bench.store.folds.all(bench.job.id):
            return True  # it was finished after this worker had looked
        if lease.attempts > MAX_ATTEMPTS:
            _give_up(bench, task, lease, reason=_quarantine_note(bench, lease))
            return True
        record = bench.trials.records()[task.trial]
        try:
            run_fold(bench, task, lease, record=record, seconds=seconds)
        except Diverged as divergence:
            _give_up(bench, task, lease, reason=str(divergence))
        except (MemoryError, RuntimeError) as failure:
            if not is_out_of_memory(failure):
                raise
            _give_up(bench, task, lease, reason=str(failure).splitlines()[0])
        return True


def _give_up(bench: Workbench, task: FoldTask, lease: Lease, *, reason: str) -> None:
    bench.store.folds.give_up(task, reason=reason)
    tidy(bench.files.finalist(task.trial, task.fold), until=lease.fence)


def _assemble(bench: Workbench) -> None:
    with bench.lease("assemble") as lease:
        if lease is None:
            raise Waiting
        if not _is_in(bench, "assembling"):
            return
        if lease.attempts > MAX_LANDINGS:
            reason = bench.store.leases.reason(lease) or "unknown"
            raise JobFailed(
                f"the landing was given up after {MAX_LANDINGS} attempts; the last one: {reason}"
            )
        tidy_job(bench)
        tidy_models(bench.files, lease)
        result = assemble(bench, lease)
        bench.store.jobs.finish(bench.job.id, result=result)
