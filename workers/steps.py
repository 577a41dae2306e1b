"""What there is to do next in a job: one trial, one fold, or the step from a phase to the next.

Every step is taken under a lease, so any worker can take any of them, and another one can
take it over when its holder dies.
"""

import random
from collections.abc import Callable

from search.baselines import BASELINES, Baseline, BaselineName
from search.epoch_budget import allows_trial
from search.finalists import prior_stands
from search.first_trials import common_parameters, leader
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.job import JobState
from search.plan import Plan
from search.race import BEATEN
from search.store import FoldTask, Lease, TrialRecord
from search.store.results import is_last_hope
from spaces.errors import JobFailed
from workers.assembly import assemble
from workers.baselines import measure_baseline
from workers.checkpoints import has_checkpoint
from workers.contenders import contenders
from workers.finalist import fold_overhead, run_fold
from workers.landing import choose_finalists, race_of, substitute
from workers.landing_again import finalists_again, keep_finished_folds
from workers.landing_time import seconds_for
from workers.out_of_memory import is_out_of_memory
from workers.retention import tidy, tidy_job, tidy_models
from workers.search_time import search_end
from workers.study_notes import annotate_study
from workers.training import Diverged
from workers.trial import run_trial
from workers.trial_notes import note_trial
from workers.workbench import Workbench

MAX_ATTEMPTS = 3  # at a trial or a fold
MAX_LANDINGS = 10  # attempts at the last step: by then the whole job's work is at stake
MIN_FOLD_SECONDS = 0.3  # of training; with less time than this a fold is not begun
ASKING_SECONDS = 0.05  # that another worker takes to ask for a trial, about
MAX_FRUITLESS = 30  # trials without any score, after which no more are asked for in overtime
MAX_INFEASIBLE = 300  # in a row, after which the space and its limits do not fit each other

_chance = random.Random()


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
    again = bench.job.spec.lands is not None  # others' trials, which have ended
    number = None if again else _unheld(bench, running)
    if number is None and not _measure_baseline(bench):
        number = _next_trial(bench, others=len(running))
    if number is not None:
        _run(bench, number)


def _measure_baseline(bench: Workbench) -> bool:
    """Measure one of the baselines that are missing; False if there is none for this worker."""
    wanted = bench.job.spec.wants_baselines
    if not wanted or bench.heartbeat.seconds_until(bench.plan.search_seconds) <= 0.0:
        return False
    for name in _missing_baselines(bench):
        with bench.lease(f"baseline/{name}") as lease:
            if lease is None or name not in _missing_baselines(bench):
                continue
            if lease.attempts > MAX_ATTEMPTS:
                note = _quarantine_note(bench, lease)
                found = Baseline(name=name, score=None, rows=0, seconds=0.0, note=note)
            else:
                seed = bench.seed("baseline", name)
                found = measure_baseline(name, bench.search_rows, seed=seed, metric=bench.metric)
            bench.trials.record_baseline(found)
            return True
    return False


def _missing_baselines(bench: Workbench) -> list[BaselineName]:
    known = {baseline.name for baseline in bench.trials.baselines()}
    return [name for name in BASELINES if name not in known]


def _unheld(bench: Workbench, running: list[int]) -> int | None:
    """Return the oldest of the trials that have not ended which nobody holds."""
    held = bench.store.leases.held(f"{bench.job.id}/trial/")
    free = (number for number in running if f"{bench.job.id}/trial/{number}" not in held)
    return next(free, None)


def _next_trial(bench: Workbench, *, others: int) -> int | None:
    """Ask for one more trial; None if another worker asks, or the landing has been planned.

    Workers do so one after the other, under one lease: so there are exactly as many trials as
    were wanted, and the landing knows them all.

    Args:
        others: workers that are at a trial, about.

    Raises:
        Waiting: there are enough trials, but the last ones have not ended yet.
    """
    with bench.lease("trials") as lease:
        searching = lease is not None and _is_in(bench, "searching")
        if searching and _wants_trial(bench):
            return _ask(bench)
        running = searching and bool(bench.trials.running())
        if searching and not running:
            assert lease is not None
            _plan_landing(bench, lease)
    if lease is None:
        _wait_to_ask(bench, others=others)
    if running:
        raise Waiting
    return None


def _wait_to_ask(bench: Workbench, *, others: int) -> None:
    """Wait while another worker asks: the longer, the more workers may want to ask as well."""
    bench.heartbeat.interrupted.wait(_chance.uniform(0.0, ASKING_SECONDS * (1 + others)))


def _wants_trial(bench: Workbench) -> bool:
    """Whether time, the number of trials and hope allow one more; infeasible ones do not count."""
    records = bench.trials.records()
    most = bench.plan.most_trials
    if most is None:
        _check_space(bench, records)
    elif sum(record.state != "waiting" for record in records) >= most:
        return False
    limit = bench.job.spec.trials
    if limit is not None:
        begun = sum(record.state not in ("waiting", "infeasible") for record in records)
        if begun >= limit:
            return False
    epochs, rung_of = bench.job.spec.max_epochs, bench.job.spec.rung_of
    if epochs is not None and not allows_trial(
        records, bench.plan, rung_of=rung_of, max_epochs=epochs
    ):
        return False
    if bench.heartbeat.seconds_until(search_end(bench)) > 0.0:
        endless = bench.job.spec.counts_trials or bench.job.spec.minimize is not None
        return endless or not _prior_stands(bench)
    if bench.heartbeat.seconds_until(bench.job.spec.budget) <= 0.0:
        return False
    trained = sum(record.state != "infeasible" for record in records)
    return not bench.trials.leaderboard() and trained < MAX_FRUITLESS


def _prior_stands(bench: Workbench) -> bool:
    board, prior = contenders(bench)
    return prior_stands(board, prior=prior, validation_rows=bench.plan.validation_rows)


def _ask(bench: Workbench) -> int:
    records = bench.trials.records()
    if all(record.state == "waiting" for record in records):
        for parameters in bench.plan.first_trials:
            bench.trials.enqueue(parameters)
    elif all(record.state != "waiting" for record in records):
        plan = bench.plan
        first = plan.deciding_trials
        followed = leader(first, records, validation_rows=plan.validation_rows)
        common = common_parameters(first, leader=followed, settled=plan.settled)
        warm = plan.warm_trials[len(records) - len(plan.first_trials) :][:1]
        queued = {**(warm[0] if warm else {}), **common}
        if queued:
            bench.trials.enqueue(queued, again=True)
    return bench.trials.ask().number


def _run(bench: Workbench, number: int) -> None:
    with bench.lease(f"trial/{number}") as lease:
        trial = bench.trials.open(number)  # with all that former holders have sampled
        if lease is None or bench.trials.ended(trial):
            return
        if lease.attempts > MAX_ATTEMPTS:
            bench.trials.tell(trial, "failed", note=_quarantine_note(bench, lease))
            tidy(bench.files.trial(number), until=lease.fence)
            note_trial(bench, trial, lease)
        else:
            run_trial(bench, trial, lease)


def _quarantine_note(bench: Workbench, lease: Lease) -> str:
    reason = bench.store.leases.reason(lease)
    last = f"; the last one: {reason}" if reason else ""
    return f"given up after {MAX_ATTEMPTS} attempts without an epoch in between{last}"


def _is_in(bench: Workbench, state: JobState) -> bool:
    """Whether the job still is in a state, asked under the lease that moves it on."""
    return bench.store.jobs.get(bench.job.id).state == state


def _check_space(bench: Workbench, records: list[TrialRecord]) -> None:
    last = records[-MAX_INFEASIBLE:]
    if len(last) == MAX_INFEASIBLE and all(record.state == "infeasible" for record in last):
        raise JobFailed(
            f"some network of the space must be within the limits ({bench.plan.limits.text()}), "
            f"but the last {MAX_INFEASIBLE} sampled were not"
        )


def _plan_landing(bench: Workbench, lease: Lease) -> None:
    plan, again = bench.plan, bench.job.spec.lands is not None
    chosen = finalists_again(bench) if again else choose_finalists(bench)
    finalists = [record.number for record in chosen]
    races = plan.races and len(finalists) > plan.survivors
    heats = [JUDGING_FOLD] if races else []
    bench.store.folds.plan(bench.job.id, trials=finalists, folds=[*_final_folds(plan), *heats])
    if again:
        keep_finished_folds(bench, lease)
    bench.store.jobs.move(bench.job.id, before="searching", after="landing")


def _final_folds(plan: Plan) -> list[int]:
    """Return the folds on which a finalist is trained for the ensemble."""
    refit = [ALL_ROWS] if plan.refit else []
    return [*refit, *range(JUDGING_FOLD + 1, plan.folds + 1)]


def _land(bench: Workbench) -> None:
    planned = bench.store.folds.all(bench.job.id)
    race = race_of(bench, planned)
    revived = race.revived
    for task in revived:
        bench.store.folds.reopen(task)
    if revived:
        return
    beaten = race.beaten
    for task in beaten:
        bench.store.folds.give_up(task, reason=BEATEN)
    useless = _unjudged(planned)
    for task in useless:
        bench.store.folds.give_up(task, reason="no fold of its trial could be trained")
    ended = [*beaten, *useless]
    tasks = [task for task in race.ranked(planned) if task.pending and task not in ended]
    held = bench.store.leases.held(f"{bench.job.id}/fold/")
    free = [task for task in tasks if _fold_key(bench, task) not in held]
    records = bench.trials.records()
    for task in race.open(free):
        seconds = seconds_for(bench, task, free)
        least = MIN_FOLD_SECONDS + fold_overhead(bench, task, records[task.trial])
        if seconds < least:
            if _skip(bench, task if task.fold == JUDGING_FOLD else _least_missed(bench, free)):
                return
            seconds = least
        if _run_fold(bench, task, seconds):
            return
    if tasks:
        raise Waiting
    other = substitute(bench, planned)
    if other is not None:
        folds = _final_folds(bench.plan)
        bench.store.folds.add(bench.job.id, trial=other.number, folds=folds)
        return
    bench.store.jobs.move(bench.job.id, before="landing", after="assembling")


def _least_missed(bench: Workbench, free: list[FoldTask]) -> FoldTask:
    """Return the fold to give up first: the others share its time.

    It is the last fold of the worst finalist, of those that nobody has trained in part; a refit
    before the only fold that may say how good it is.
    """
    judged = [task for task in bench.store.folds.all(bench.job.id) if task.may_judge]
    refits = [task for task in free if task.fold == ALL_ROWS]
    if refits and len(judged) == 1:
        return refits[-1]
    fresh = [t for t in free if not has_checkpoint(bench.files.finalist(t.trial, t.fold))]
    return (fresh or free)[-1]


def _skip(bench: Workbench, task: FoldTask) -> bool:
    """Give a fold up for which there is no time, unless somebody trains it.

    False if it must be trained all the same: no other fold has, or may have, a network.
    """
    if is_last_hope(task, bench.store.folds.all(bench.job.id)):
        return False  # before its lease is had, which would forget its attempts when it ends well
    with bench.lease(f"fold/{task.trial}/{task.fold}") as lease:
        if lease is None or task not in bench.store.folds.all(bench.job.id):
            return True
        if not bench.store.folds.spare(task, reason="no time left"):
            return False
        tidy(bench.files.finalist(task.trial, task.fold), until=lease.fence)
        return True


def _unjudged(tasks: list[FoldTask]) -> list[FoldTask]:
    """Return the refits of no use: no fold may say how good they are, but others' folds may."""
    judged = {task.trial for task in tasks if task.may_judge}
    refits = [task for task in tasks if task.fold == ALL_ROWS and task.pending]
    return [task for task in refits if judged and task.trial not in judged]


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
    with bench.lease("assemble", attempts=MAX_LANDINGS) as lease:
        if lease is None:
            raise Waiting
        if not _is_in(bench, "assembling"):
            return
        tidy_job(bench)
        tidy_models(bench.files, lease)
        result = assemble(bench, lease)
        annotate_study(bench, result)
        bench.store.jobs.finish(bench.job.id, result=result)
