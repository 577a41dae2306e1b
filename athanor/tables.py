"""Lists of jobs and workers, for people and as JSON."""

from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from athanor.progress import Progress, clock_text
from search.job import Job
from search.metrics import score_text
from search.store import WorkerRecord


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
        "processor_seconds": job.processor_seconds,
        "processor_phases": job.processor_phases,
        "error": job.error,
        "result": job.result,
    }


def jobs_table(jobs: list[Job]) -> Table:
    """Draw a list of jobs."""
    table = Table(box=SIMPLE, pad_edge=False)
    for name in ("job", "state", "data", "used", "budget", "test"):
        table.add_column(name, no_wrap=name != "data")
    for job in jobs:
        result = job.result or {}
        score = result.get("test_accuracy", result.get("test_score"))
        table.add_row(
            job.id,
            f"{job.state}, paused" if job.paused and not job.ended else job.state,
            escape(job.spec.data),
            clock_text(job.seconds_used),
            "" if job.spec.budget is None else clock_text(job.spec.budget),
            "" if score is None else score_text(score),
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
