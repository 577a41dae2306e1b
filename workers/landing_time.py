"""How long each fold of a landing may take, and what comes after the folds."""

import math
from collections.abc import Sequence
from functools import lru_cache

from search.folds import ALL_ROWS, JUDGING_FOLD
from search.machine import usable_cores
from search.selection import ROUNDS
from search.store import FoldTask, TrialRecord
from spaces.architecture import Architecture
from workers.device import DevicePlan
from workers.finalist import EXACT_COST
from workers.latency import measure_latency
from workers.workbench import Workbench

SAMPLE_ROWS = 200  # left-out images that every network predicts again, to be compared
ASSEMBLY_SECONDS = 6.0  # to start the verifying process, write files and export
ASSEMBLY_SHARE = 0.02  # of the budget, for all that is not foreseen,
MAX_UNFORESEEN = 36.0  # seconds at most
PACE_BATCH = 8  # images by which the processor's pace is measured
STACKING_PACE = 6e-6  # seconds a row that judges, class and finalist; on one core 1e-6 to 4e-6
STACKING_SHARE = 0.05  # of the budget at most: without a stack there is still the mean
RANKING_PACE = 2e-7  # seconds to rank a row once for a class,
RANKINGS, GROUP_DRAWS = 300, 200  # how often that is done, and more where rows are in groups
COUNTING_PACE = 5e-8  # seconds to draw a row and to count it
DEFAULT_PACE = 2e-4  # seconds to predict an image, where no trial has measured it


def folds_deadline(bench: Workbench, tasks: list[FoldTask]) -> float | None:
    """Return the second of the job's clock at which the folds must be done; None: no limit.

    After them every network predicts the test rows, at the pace that the folds have shown;
    before the first fold is done, at the pace of their trials.
    """
    budget = bench.job.spec.budget
    if budget is None:
        return None
    wanted = [task for task in tasks if task.fold != JUDGING_FOLD and (task.done or task.pending)]
    count = min(len(wanted), _exported(bench, wanted))
    trials = {task.trial for task in wanted}
    shown = [task for task in tasks if task.trial in trials]
    members = min(len(trials), bench.plan.survivors)  # others lose the race
    stacking = min(stacking_seconds(bench, members), STACKING_SHARE * budget)
    foreseen = ASSEMBLY_SECONDS + stacking + scoring_seconds(bench)
    foreseen += verifying_seconds(bench, wanted[:count], shown or tasks)
    return budget - foreseen - min(ASSEMBLY_SHARE * budget, MAX_UNFORESEEN)


def verifying_seconds(
    bench: Workbench, networks: Sequence[FoldTask], shown: Sequence[FoldTask]
) -> float:
    """Return how long networks take to predict the test rows, at the pace of those `shown`."""
    rows = len(bench.data.test_labels) + SAMPLE_ROWS
    speedup = max(1.0, usable_cores() / bench.plan.threads)  # paces are those of a worker's threads
    return rows * len(networks) * _exact_pace(bench, shown) / speedup


def stacking_seconds(bench: Workbench, members: int) -> float:
    """Return how long it takes to choose among finalists and their stack by cross-fitting.

    By a metric of ranks all models' rows are ranked in each round of each selection: one of all
    rows for the mean and one for the model, and one without each fold's for three cross-fits.
    """
    if members < 2 or bench.plan.final == "best":
        return 0.0
    judged, classes = judging_rows(bench), bench.data.classes
    seconds = STACKING_PACE * members * judged * classes
    if bench.metric.name == "roc_auc":
        selections = 2 + 3 * max(bench.plan.folds - 1, 1)
        seconds += RANKING_PACE * ROUNDS * members * selections * judged * classes
    return seconds


def judging_rows(bench: Workbench) -> int:
    """Return how many rows a finalist's networks are judged on together."""
    folds = bench.folds.folds[JUDGING_FOLD + 1 : bench.plan.folds + 1]
    return sum(len(fold.validation_rows) for fold in folds)


def scoring_seconds(bench: Workbench) -> float:
    """Return how long scores and their intervals take: ranks are sorted anew for each draw.

    So is the standard error by which a limit on the ensemble has its price.
    """
    rows = max(len(bench.data.test_labels), judging_rows(bench))
    more = 0 if bench.folds.groups is None else GROUP_DRAWS
    if bench.job.spec.ensemble_latency or bench.job.spec.ensemble_parameters:
        more += RANKINGS
    if bench.metric.name == "roc_auc":
        return RANKING_PACE * (RANKINGS + more) * rows * bench.data.classes
    return COUNTING_PACE * more * rows if bench.metric.by_class else 0.0


def _exported(bench: Workbench, wanted: list[FoldTask]) -> int:
    """Return how many networks the model folder will have, if all goes well."""
    plan = bench.plan
    if plan.final == "best":
        return 1
    refits = {task.trial for task in wanted if task.fold == ALL_ROWS}
    if plan.refit and refits == {task.trial for task in wanted}:  # of fewer none is used
        return plan.survivors
    return plan.survivors * plan.folds


def _exact_pace(bench: Workbench, tasks: Sequence[FoldTask]) -> float:
    """Return the slowest seconds to predict an image in float32 on a worker's processor threads."""
    measured: list[float] = [
        task.report["predict_pace"] for task in tasks if task.done and task.report is not None
    ]
    if measured:
        return max(measured)
    records = [bench.trials.records()[task.trial] for task in tasks]
    if bench.device.on_gpu:  # which the trials have measured
        return max(_processor_pace(bench, record) for record in records)
    return max(record.predict_pace or DEFAULT_PACE for record in records) * EXACT_COST


def _processor_pace(bench: Workbench, record: TrialRecord) -> float:
    assert record.candidate is not None
    data = bench.data
    return _network_pace(record.candidate.architecture, data.image_shape, data.classes)


@lru_cache(maxsize=16)
def _network_pace(
    architecture: Architecture, image_shape: tuple[int, int, int], classes: int
) -> float:
    """Measure the seconds to predict an image in float32 on this worker's processor threads."""
    seconds = measure_latency(
        architecture, image_shape=image_shape, classes=classes, batch=PACE_BATCH, plan=DevicePlan()
    )
    return seconds / PACE_BATCH


def seconds_for(bench: Workbench, task: FoldTask, free: list[FoldTask]) -> float:
    """Return the share of the time left for one of the folds; infinite without a budget.

    In a race all have the same time, which a training that goes on has used in part. The other
    folds share what is left.

    Args:
        free: the folds that nobody has begun, `task` included.
    """
    tasks = bench.store.folds.all(bench.job.id)
    heats = [each for each in tasks if each.fold == JUDGING_FOLD]
    races = task.fold == JUDGING_FOLD
    # what the first heats have shown must not give later ones another time
    known = [each for each in tasks if each not in heats] if races else tasks
    deadline = folds_deadline(bench, known)
    if deadline is None:
        return math.inf
    left = bench.heartbeat.seconds_until(deadline)
    if not races:  # shared by those who are there; more may come, and go again
        workers = max(1, min(bench.plan.workers, bench.store.beats.hands(bench.job.id)))
        return left / math.ceil(len(free) / workers)
    landing = deadline - bench.store.jobs.get(bench.job.id).phases["landing"]
    # a landing that was interrupted has less time than its race was planned with
    share = bench.plan.heat_share(finalists=len(heats))
    return share * min(landing, left / (1.0 - bench.plan.race_share))
