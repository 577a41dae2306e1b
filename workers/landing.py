"""The landing's beginning: which trials are finalists, and how long each fold may take."""

import math
import os

from search.finalists import FIRST_FOLD, Race, best_trials
from search.store import FoldTask, TrialRecord
from spaces.architecture import VIEW_COUNTS
from spaces.errors import JobFailed
from workers.finalist import EXACT_COST
from workers.workbench import Workbench

SAMPLE_ROWS = 200  # left-out images that every network predicts again, to be compared
ASSEMBLY_SECONDS = 6.0  # to start the verifying process, write files and export
ASSEMBLY_SHARE = 0.02  # of the budget, for all that is not foreseen
PROCESSOR_MACS = 5e9  # a second that a thread computes in float32, at least
DEFAULT_PACE = 2e-4  # seconds to predict an image, where no trial has measured it


def choose_finalists(bench: Workbench) -> list[TrialRecord]:
    """Return the job's finalists, best first.

    Raises:
        JobFailed: no trial of the search has a score.
    """
    board = bench.trials.leaderboard()
    if not board:
        raise JobFailed("the search must end with a scored trial, but none finished an epoch")
    plan = bench.plan
    return best_trials(board, count=plan.finalists, validation_rows=plan.validation_rows)


def folds_deadline(bench: Workbench, tasks: list[FoldTask]) -> float | None:
    """Return the second of the job's clock at which the folds must be done; None: no limit.

    After them every network predicts the test rows, at the pace that the folds have shown;
    before the first fold is done, at the pace of their trials.
    """
    budget = bench.job.spec.budget
    if budget is None:
        return None
    rows = len(bench.data.test_labels) + SAMPLE_ROWS
    speedup = max(1.0, cores() / bench.plan.threads)  # paces are those of a worker's threads
    networks = min(len(tasks), bench.plan.survivors * len(bench.folds.folds))
    predictions = rows * networks * _exact_pace(bench, tasks) / speedup
    return budget - ASSEMBLY_SECONDS - ASSEMBLY_SHARE * budget - predictions


def _exact_pace(bench: Workbench, tasks: list[FoldTask]) -> float:
    """Return the slowest seconds to predict an image in float32 on a worker's processor threads."""
    measured: list[float] = [
        task.report["predict_pace"] for task in tasks if task.done and task.report is not None
    ]
    if measured:
        return max(measured)
    records = [bench.trials.records()[task.trial] for task in tasks]
    if bench.device.device != "cpu":  # trials have measured the GPU
        return max(map(_counted_pace, records)) / bench.plan.threads
    return max(record.predict_pace or DEFAULT_PACE for record in records) * EXACT_COST


def _counted_pace(record: TrialRecord) -> float:
    assert record.candidate is not None
    return (record.macs or 0) * VIEW_COUNTS[record.candidate.architecture.views] / PROCESSOR_MACS


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def seconds_for(bench: Workbench, task: FoldTask, pending: list[FoldTask]) -> float:
    """Return the fair share of the time left for one of the pending folds; infinite if free.

    Args:
        pending: the folds that nobody has begun, `task` included.
    """
    tasks = bench.store.folds.all(bench.job.id)
    left = bench.heartbeat.seconds_until(folds_deadline(bench, tasks))
    assert task in pending
    workers = bench.job.spec.worker_count
    if not Race(tasks, survivors=bench.plan.survivors).undecided:
        return left / math.ceil(len(pending) / workers)
    racing = sum(task.fold == FIRST_FOLD for task in pending)
    later = bench.plan.survivors * (len(bench.folds.folds) - 1)
    return left / (math.ceil(racing / workers) + math.ceil(later / workers))
