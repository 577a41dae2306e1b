"""Leaderboards, lists of jobs and final statements, for people and as JSON."""

import itertools
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from athanor.progress import PHASES, Progress, clock_text
from search.attributes import Cost
from search.folds import JUDGING_FOLD
from search.job import Job, JobSpec
from search.store import FoldTask, TrialRecord, WorkerRecord
from search.store.records import pareto_front

SHOWN = 15  # rows of a leaderboard on a terminal
COST_NAMES: dict[Cost, str] = {"parameters": "parameters", "macs": "MACs", "latency": "latency"}


def trial_json(record: TrialRecord, folds: list[FoldTask]) -> dict[str, Any]:
    """Return everything that is known of a trial."""
    mine = [task for task in folds if task.trial == record.number]
    return {
        "trial": record.number,
        "state": record.state,
        "score": record.score,
        "curve": {str(epoch): value for epoch, value in record.curve.items()},
        "parameters": record.parameters,
        "macs": record.macs,
        "latency": record.latency,
        "seconds": record.seconds,
        "note": record.note,
        "folds": {str(task.fold): task.accuracy for task in mine if task.done},
        "candidate": None if record.candidate is None else record.candidate.to_json(),
    }


def leaderboard_json(job: Job, board: list[TrialRecord], folds: list[FoldTask]) -> dict[str, Any]:
    """Return the leaderboard of a job, the best trial first, and the front if it has one."""
    cost = job.spec.minimize
    front = {} if cost is None else {"front": [each.number for each in pareto_front(board, cost)]}
    return {
        "job": job.id,
        "state": job.state,
        "best_trial": board[0].number if board else None,
        **front,
        "trials": [trial_json(record, folds) for record in board],
    }


def leaderboard_table(board: list[TrialRecord], folds: list[FoldTask]) -> Table:
    """Draw the best trials; the score is that on a sample of the judging fold."""
    table = Table(title="leaderboard", title_justify="left", box=SIMPLE, pad_edge=False)
    for name in ("", "trial", "state", "score", "folds", "params", "MMACs"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    table.add_column("network", no_wrap=True, overflow="ellipsis")
    for place, record in enumerate(board[:SHOWN], start=1):
        mine = [task for task in folds if task.trial == record.number]
        scores = [t.accuracy for t in mine if t.fold != JUDGING_FOLD and t.accuracy is not None]
        table.add_row(
            str(place),
            str(record.number),
            record.state,
            "" if record.score is None else f"{record.score:.4f}",
            f"{sum(scores) / len(scores):.4f} x {len(scores)}" if scores else "",
            f"{record.parameters / 1e3:.0f} k" if record.parameters is not None else "",
            f"{record.macs / 1e6:.2f}" if record.macs is not None else "",
            str(record.candidate.architecture) if record.candidate else "",
        )
    return table


def print_leaderboard(
    console: Console, job: Job, board: list[TrialRecord], folds: list[FoldTask]
) -> None:
    """Print the best trials and, where a cost is to be small as well, the front of both."""
    console.print(leaderboard_table(board, folds))
    if job.spec.minimize is not None and board:
        console.print(_front_table(job.spec, job.spec.minimize, board, folds))


def _front_table(
    spec: JobSpec, cost: Cost, board: list[TrialRecord], folds: list[FoldTask]
) -> Table:
    """Draw the trials that no other one beats in accuracy and cost, the cheapest first."""
    errors = f"{spec.tolerance:g} standard error{'' if spec.tolerance == 1.0 else 's'}"
    table = Table(
        title=f"front of accuracy and {COST_NAMES[cost]}; within {errors} of the best score "
        "the cheapest is chosen",
        title_justify="left",
        box=SIMPLE,
        pad_edge=False,
    )
    for name in ("", "trial", "score", COST_NAMES[cost], "of the last"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("network", no_wrap=True, overflow="ellipsis")
    front, chosen = pareto_front(board, cost), {task.trial for task in folds}
    for record in front:
        price, most = record.cost(cost), front[-1].cost(cost)
        assert price is not None and most is not None and record.score is not None
        table.add_row(
            "chosen" if record.number in chosen else "",
            str(record.number),
            f"{record.score:.4f}",
            f"{1e3 * price:.2f} ms" if cost == "latency" else f"{price:,.0f}",
            f"{price / most:.0%}" if most else "",
            str(record.candidate.architecture) if record.candidate else "",
        )
    return table


def job_json(job: Job) -> dict[str, Any]:
    """Return a job's row."""
    return {
        "job": job.id,
        "state": job.state,
        "paused": job.paused,
        "data": job.spec.data,
        "priority": job.priority,
        "budget": job.spec.budget,
        "seconds_used": job.seconds_used,
        "phases": job.phases,
        "error": job.error,
        "result": job.result,
    }


def jobs_table(jobs: list[Job]) -> Table:
    """Draw a list of jobs."""
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("job", "state", "data", "used", "budget", "test accuracy"):
        table.add_column(name, no_wrap=name != "data")
    for job in jobs:
        accuracy = (job.result or {}).get("test_accuracy")
        table.add_row(
            job.id,
            f"{job.state}, paused" if job.paused and not job.ended else job.state,
            escape(job.spec.data),
            clock_text(job.seconds_used),
            "" if job.spec.budget is None else clock_text(job.spec.budget),
            "" if accuracy is None else f"{accuracy:.4f}",
        )
    return table


def worker_json(worker: WorkerRecord) -> dict[str, Any]:
    """Return what is known of a worker."""
    return {
        "worker": worker.id,
        "host": worker.host,
        "device": worker.device,
        "job": worker.job_id,
        "doing": worker.doing,
        "unfit": worker.unfit,
        "seconds_since_seen": round(worker.silent, 1),
    }


def workers_table(workers: list[WorkerRecord]) -> Table:
    """Draw a list of workers."""
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("worker", "device", "doing", "seen"):
        table.add_column(name, no_wrap=True)
    for worker in workers:
        doing = worker.doing or worker.job_id or "waiting for work"
        table.add_row(escape(worker.id), worker.device, doing, f"{worker.silent:.0f} s ago")
    return table


def unfit_lines(reasons: dict[str, str]) -> list[str]:
    """Say why workers, by name, cannot work on a job: a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for worker, reason in reasons.items():
        by_reason.setdefault(reason, []).append(worker)
    return [f"left to others by {', '.join(who)}: {why}" for why, who in by_reason.items()]


def status_json(
    progress: Progress, workers: list[WorkerRecord], unfit: dict[str, str]
) -> dict[str, Any]:
    """Return how far a job is, who works on it, and, by worker, why some cannot."""
    best = progress.best
    states: dict[str, int] = {}
    for record in progress.trials:
        states[record.state] = states.get(record.state, 0) + 1
    return {
        **job_json(progress.job),
        "trials": states,
        "folds_done": progress.folds_done,
        "folds": len(progress.networks),
        "best_trial": None if best is None else best.number,
        "best_score": None if best is None else best.score,
        "workers": [worker_json(worker) for worker in workers],
        "unfit_workers": unfit,
    }


def print_statement(console: Console, progress: Progress) -> None:
    """Print the final statement: what each phase took, members, test accuracy with interval."""
    job, result = progress.job, progress.job.result or {}
    console.print(f"\n{progress.states()}")
    console.print(f"time: {phases_line(job)}")
    members = ", ".join(f"trial {m['trial']} x {m['weight']:.2f}" for m in result["members"])
    console.print(
        f"ensemble: {members}; {result['folds']} networks of each; "
        f"out-of-fold accuracy {result['out_of_fold_accuracy']:.4f} "
        f"({result['out_of_fold_rows']:,} images)"
    )
    low, high = result["test_interval"]
    console.print(
        f"[bold]test accuracy {result['test_accuracy']:.4f}[/bold] "
        f"(95 % interval {low:.4f} to {high:.4f}, {result['test_rows']:,} images, opened once)"
    )


def phases_line(job: Job) -> str:
    """Say what each phase took of the budget."""
    order = [name for name in PHASES if name in job.phases]
    starts = [job.phases[name] for name in order]
    spans = [after - before for before, after in itertools.pairwise(starts)]
    parts = [
        f"{name} {clock_text(span)}" for name, span in zip(order, spans, strict=False) if span >= 1
    ]
    total = clock_text(job.seconds_used)
    budget = "" if job.spec.budget is None else f" of {clock_text(job.spec.budget)} promised"
    return f"{', '.join(parts)}; {total}{budget}"
