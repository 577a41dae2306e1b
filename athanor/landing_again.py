"""`athanor ensemble`, `refit` and `distill`: land a finished job's trials once more."""

import re
from typing import Any

from athanor.searching import SearchOptions, run_search
from search.durations import parse_duration
from search.finalists import trained_trials
from search.folds import JUDGING_FOLD
from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore
from spaces.errors import InputError, JobError

LIMITS = {"latency": "ensemble_latency", "parameters": "ensemble_parameters"}
SIZES = {"": 1, "k": 1_000, "m": 1_000_000}
SHORT = {"us": 1e-6, "ms": 1e-3}


def land_again(job_id: str, options: SearchOptions, changes: dict[str, Any]) -> int:
    """Land a job's trials as a job of its own; return the exit status.

    Args:
        changes: keys of a job that shall be otherwise than in the earlier one; None: as there.

    Raises:
        JobError: there is no such job, or it is not done.
    """
    store = options.places.open()
    earlier = _done(store, job_id)
    store.close()
    return run_search(spec_of(earlier, changes), options)


def _done(store: StudyStore, job_id: str) -> Job:
    job = store.jobs.get(job_id)
    if job.state != "done":
        raise JobError(f"only a job that is done can be landed, but {job_id} is {job.state}")
    return job


def spec_of(earlier: Job, changes: dict[str, Any]) -> JobSpec:
    """Return a job that lands the trials of an earlier one, otherwise than that did."""
    unlimited = dict.fromkeys(("budget", "device_budget", "trials", "max_epochs"))
    unset = dict.fromkeys(("warm_start", "finalists", "folds", "final", "distills"))
    unset |= dict.fromkeys(LIMITS.values())
    defaults = {**unset, "repeats": 1, "reopen_test": False}
    given = {key: value for key, value in changes.items() if value is not None}
    lands = {"lands": earlier.id, "baselines": False}
    if given.get("reopen_test"):
        lands["keep_test_closed"] = False
    return JobSpec.parse({**earlier.spec.to_json(), **unlimited, **defaults, **lands, **given})


def refit(job_id: str, options: SearchOptions, changes: dict[str, Any]) -> int:
    """Train a finished job's finalists once more, on all rows; return the exit status.

    There are no more workers than finalists, so that these share all cores.
    """
    store = options.places.open()
    workers = refit_workers(store, _done(store, job_id))
    store.close()
    return land_again(job_id, options, {**changes, "final": "refit", "workers": workers})


def refit_workers(store: StudyStore, job: Job) -> int:
    """Return how many processes have something to do where a job's finalists are trained anew."""
    networks = [task for task in store.folds.all(job.id) if task.fold > JUDGING_FOLD and task.done]
    finalists = trained_trials(job, networks, final="refit")  # whoever lost a race has none
    return max(1, min(job.spec.worker_count, len(finalists)))


def distill(
    job_id: str,
    options: SearchOptions,
    changes: dict[str, Any],
    *,
    trial: int | None,
    parameters: str | None,
) -> int:
    """Teach one network what a finished job's ensemble knows; return the exit status.

    Args:
        trial: that is the student; None: the best that is small enough, or a member itself.
        parameters: that the student may have, as `500k`.
    """
    if trial is not None and parameters is not None:
        raise InputError("a student is --trial, or the best within --max-parameters, but got both")
    if trial is None:
        store = options.places.open()
        trial = student_of(store, _done(store, job_id), parameters=parameters)
        store.close()
    return land_again(job_id, options, {**changes, "final": "refit", "distills": trial})


def student_of(store: StudyStore, job: Job, *, parameters: str | None) -> int:
    """Return the best finished trial of so many parameters, or the ensemble's first member."""
    if parameters is None:
        assert job.result is not None
        return int(job.result["members"][0]["trial"])
    most = _count(parameters)
    board = [record for record in store.trials(job).leaderboard() if record.finished]
    for record in board:
        if (record.parameters or 0) <= most:
            return record.number
    smallest = min((record.parameters or 0 for record in board), default=0)
    raise JobError(
        f"a student must have at most {most:,} parameters, but the smallest trial has {smallest:,}"
    )


def parse_limits(texts: list[str]) -> dict[str, float]:
    """Return the keys of a job for `latency=5ms` and `parameters=500k`."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in LIMITS or not value:
            known = ", ".join(f"{each}=..." for each in LIMITS)
            raise InputError(f"a limit must be one of {known}, but got {text!r}")
        found[LIMITS[name]] = _seconds(value) if name == "latency" else _count(value)
    return found


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms)", text)
    try:
        seconds = float(match[1]) * SHORT[match[2]] if match else parse_duration(text)
    except ValueError:
        seconds = None
    if seconds is None:
        raise InputError(f"a latency must look like 5ms, 300us or 1s, but got {text!r}")
    return seconds


def _count(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)", text.lower())
    if match is None:
        raise InputError(f"parameters must look like 200000, 500k or 1.5m, but got {text!r}")
    return round(float(match[1]) * SIZES[match[2]])
