"""What the Optuna dashboard shows of a job that is done: a note, plots, files of the best trial."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from search.folds import ALL_ROWS, JUDGING_FOLD
from search.influence import influences
from search.job import Job
from search.metrics import METRICS, confusion, score_text
from search.predictions import Z_95
from search.store import FoldTask, TrialRecord
from search.store.records import pareto_front
from spaces.errors import InputError
from workers.judged_rows import judged_rows
from workers.logs import facts, log
from workers.out_of_fold import fold_files
from workers.study_plots import (
    budget_plot,
    confusion_plot,
    ensemble_plot,
    front_plot,
    influence_plot,
    leaderboard_plot,
)
from workers.workbench import Workbench

SHOWN = 10  # trials of the note
PLOTTED = 25  # trials of the leaderboard's plot
MOST_CLASSES = 30  # of which a confusion is plotted
INFLUENCE_SECONDS = 15.0  # of the budget that must be left to ask what mattered
MOST_EXPLAINED = 200  # trials with a score, of which asking takes four seconds
CONFUSION_SECONDS = 5.0  # of the budget that must be left for that
CELL = 16  # pixels of a pair of classes
UNIMPORTANT = (
    ArithmeticError,
    InputError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def annotate_study(bench: Workbench, result: Mapping[str, Any]) -> None:
    """Write what a job has found beside its trials; once, whatever they read afterwards.

    A job that lands another one's trials leaves that one's study as it is. What cannot be written
    is told and left out: the model is whole without it.
    """
    if bench.job.spec.lands is not None:
        return
    job = replace(bench.store.jobs.get(bench.job.id), result=dict(result))
    tasks, board = bench.store.folds.all(job.id), bench.trials.leaderboard()
    for write in (_show_outcome, _show_front, _show_confusion, _show_influence):
        try:
            write(bench, job, tasks, board)
        except UNIMPORTANT as failure:
            log.warning("%s: %r", write.__name__, failure, extra=facts(job=job.id))


def _show_outcome(
    bench: Workbench, job: Job, tasks: list[FoldTask], board: list[TrialRecord]
) -> None:
    assert job.result is not None
    notes, label = bench.trials.annotations, bench.metric.label
    notes.note_study(study_note(bench, board, job.result))
    notes.plot("leaderboard", leaderboard_plot(board[:PLOTTED], label))
    notes.plot("budget", budget_plot(job))
    notes.plot("ensemble", ensemble_plot(job.result, label))


def _show_front(
    bench: Workbench, job: Job, tasks: list[FoldTask], board: list[TrialRecord]
) -> None:
    cost, label = bench.job.spec.minimize, bench.metric.label
    if cost is None:
        return
    heats = {task.trial: task.score for task in tasks if task.fold == JUDGING_FOLD}
    raced = {trial: score for trial, score in heats.items() if score is not None}
    front = [record.number for record in pareto_front(board, cost, raced=raced)]
    plot = front_plot(board, front, cost=cost, label=label, raced=raced)
    bench.trials.annotations.plot("front", plot)


def _show_influence(
    bench: Workbench, job: Job, tasks: list[FoldTask], board: list[TrialRecord]
) -> None:
    left = bench.heartbeat.seconds_until(bench.job.spec.budget)
    if left > INFLUENCE_SECONDS and len(board) <= MOST_EXPLAINED:
        try:
            found = influences(bench.trials.study)
        except InputError:  # too few trials, or equal ones, say nothing
            return
        bench.trials.annotations.plot("influence", influence_plot(found))


def study_note(bench: Workbench, board: list[TrialRecord], result: Mapping[str, Any]) -> str:
    """Return the outcome in Markdown: what was chosen, what it scores, the best trials."""
    label, members = METRICS[result["metric"]].label, result["members"]
    kept = ", ".join(f"trial {each['trial']} x {each['weight']:.2f}" for each in members)
    low, high = result["expected"]["interval"]
    lines = [
        f"# {bench.job.id}",
        f"Model: {result['networks']} networks of {kept} ({result['final']}).",
        f"Out of fold: {label} {score_text(result['out_of_fold_score'])} "
        f"({result['out_of_fold_rows']:,} rows); expected of the test "
        f"{score_text(low)} to {score_text(high)}.",
    ]
    shown = result.get("test_score", result.get("test_accuracy"))
    if shown is not None:
        times = 1 + len(result["test_opened_before"])
        opened = "opened once" if times == 1 else f"opened {times} times"
        lines.append(f"Test: {score_text(shown)} ({result['test_rows']:,} rows, {opened}).")
    if board:
        lines.append(
            f"**Best trial: {board[0].number}**, of those within the limits. This page may call "
            "one best that was beyond a limit."
        )
        lines.append(_table(board[:SHOWN], label))
    lines += [f"- {note}" for note in bench.plan.notes]
    return "\n\n".join(lines)


def _table(board: list[TrialRecord], label: str) -> str:
    rows = ["| | trial | state | score | parameters | network |", "|---|---|---|---|---|---|"]
    for place, record in enumerate(board, start=1):
        error = "" if record.error is None else f" ± {Z_95 * record.error:.4f}"
        network = "" if record.candidate is None else f"`{record.candidate.architecture}`"
        rows.append(
            f"| {place} | {record.number} | {record.state} | "
            f"{score_text(record.score or 0.0)}{error} | {record.parameters or 0:,} | {network} |"
        )
    return f"{label}, with 95 % intervals:\n\n" + "\n".join(rows)


def _show_confusion(
    bench: Workbench, job: Job, tasks: list[FoldTask], board: list[TrialRecord]
) -> None:
    """Plot what is taken for what, if there is time to read the predictions of all rows."""
    if bench.metric.task != "classification":
        return
    if bench.heartbeat.seconds_until(bench.job.spec.budget) < CONFUSION_SECONDS:
        return
    judged = judged_rows(job, tasks, bench)
    counts = confusion(judged.targets, judged.together)
    if len(counts) <= MOST_CLASSES:
        names = bench.data.class_names
        bench.trials.annotations.plot("confusion", confusion_plot(counts, names))
    _attach(bench, job, tasks, counts)


def _attach(bench: Workbench, job: Job, tasks: list[FoldTask], counts: NDArray[np.int64]) -> None:
    """Keep the confusion and a network of the heaviest member with its trial."""
    assert job.result is not None
    best = max(job.result["members"], key=lambda each: each["weight"])["trial"]
    notes, root = bench.trials.annotations, bench.files.root
    done = [task for task in tasks if task.done and task.trial == best and task.fold > ALL_ROWS]
    if done:
        files = fold_files(bench, done[-1])
        for path in (files.weights, files.meta):
            notes.attach(best, path, root=root)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "confusion.png"
        drawn_confusion(counts).save(path)
        notes.attach(best, path, root=root)


def drawn_confusion(counts: NDArray[np.int64]) -> Image.Image:
    """Draw how many rows of each class (downwards) are taken for each: darker is more."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = CELL if len(counts) <= MOST_CLASSES else 4
    image = Image.new("L", (cell * len(counts), cell * len(counts)), 255)
    draw = ImageDraw.Draw(image)
    for (row, column), share in np.ndenumerate(np.sqrt(shares)):
        left, top = cell * column, cell * row
        draw.rectangle((left, top, left + cell - 2, top + cell - 2), fill=round(255 * (1 - share)))
    return image
