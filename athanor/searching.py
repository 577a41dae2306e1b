"""`athanor search`: submit a job, work on it here, show its progress, leave a model folder."""

import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from athanor.checking import short_check
from athanor.console import make_console
from athanor.energy import WATT_HOUR, EnergyMeter
from athanor.interruption import Interruption
from athanor.leaderboard import Leaderboard
from athanor.places import Places, check_new_folder
from athanor.progress import Progress, clock_text
from athanor.progress_view import ProgressView
from athanor.statement import print_statement
from athanor.tables import job_json
from athanor.warming import with_earlier_trials
from search.balance import usual_metric
from search.job import Job
from search.job_spec import MIN_BUDGET, JobSpec
from search.machine import processor_seconds, usable_cores
from search.row_sketch import RowSketch
from search.store import StudyStore
from spaces.errors import AthanorError, InputError, JobError, JobFailed, WorkerUnfit
from workers.data import ImageData, load_data
from workers.files import new_folder
from workers.pool import LocalPool, WorkerCommand
from workers.splitting import check_metric, split
from workers.time_limit import TimeLimit

POLL_SECONDS = 0.5
LEAST_SHARE = 0.25  # of a small budget, that decoding must leave
TELLING_SHARE = 0.25  # of a budget, from which on it is said how much of it decoding took


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What a person wants besides the job itself."""

    places: Places
    out: Path | None
    overwrite: bool
    as_json: bool
    quiet: bool

    def arguments(self) -> list[str]:
        """Return what a command line needs to go on in the same places."""
        given = [] if self.out is None else ["--out", str(self.out)]
        given += ["--overwrite"] if self.overwrite else []
        return [*given, *self.places.arguments()]


def check_data(
    spec: JobSpec, places: Places, console: Console, *, limit: TimeLimit | None = None
) -> ImageData:
    """Load the data once, so that whatever is wrong with them is said before a job exists.

    Raises:
        DataError: the data cannot be used, or take longer than they may.
    """
    data = load_data(
        spec.data,
        spec.image_options,
        cache=places.cache,
        progress=lambda text: _say(console, text),
        verify=True,
        limit=limit,
    )
    short_check(data, strict=spec.strict_data, console=console)
    if limit is not None and data.decoded is not None:
        limit.check("decoding and checking images")
    if spec.lands is not None:  # which has split them
        return data
    parts = split(spec, data)
    check_metric(spec.metric or usual_metric(data.train_labels)[0], data, parts)
    return data


def tell_openings(store: StudyStore, spec: JobSpec, rows: RowSketch, console: Console) -> None:
    """Say at once if the test set will stay closed, as another job has opened it."""
    openings = store.test.all(rows)
    if openings and not (spec.reopen_test or spec.keep_test_closed):
        _say(
            console,
            f"the test set was opened by {openings[-1].job_id}: this job will not open it again, "
            "unless with --reopen-test (reopen_test in a job file)",
        )


def submit(spec: JobSpec, places: Places, console: Console, *, seconds_used: float) -> Job:
    """Check the data, then queue a job."""
    spec = with_earlier_trials(spec, places, console)
    rows = check_data(spec, places, console).test_rows
    _check_artifacts(places)
    store = places.open(create=True)
    tell_openings(store, spec, rows, console)
    job = store.jobs.create(spec, seconds_used=seconds_used)
    store.close()
    return job


def seconds_since_start() -> float:
    """Return how long this process has been running: a budget starts with the command."""
    return time.time() - psutil.Process().create_time()


def _limit(spec: JobSpec) -> TimeLimit | None:
    """Return when images must be decoded; a command that only submits has all the time."""
    if spec.budget is None:
        return None
    left = min(MIN_BUDGET, LEAST_SHARE * spec.budget)
    return TimeLimit.of(spec.budget, used=seconds_since_start(), left=left)


def _tell_late(spec: JobSpec, console: Console) -> None:
    """Say it if much of the budget is gone once images have been decoded, which happens once."""
    used = seconds_since_start()
    if spec.budget is not None and used > TELLING_SHARE * spec.budget:
        _say(
            console,
            f"{clock_text(used)} of the budget's {clock_text(spec.budget)} are gone, mostly into "
            "decoding images; these are kept, so that another search has that time",
        )


def run_search(spec: JobSpec, options: SearchOptions) -> int:
    """Submit a job and bring it to its end; return the exit status."""
    console, meter = _console(options), EnergyMeter()
    _check_out(options)
    spec = with_earlier_trials(spec, options.places, console)
    spec.space.check()
    try:
        data = check_data(spec, options.places, console, limit=_limit(spec))
    except KeyboardInterrupt:
        print("interrupted while the data were read: there is no job yet", file=sys.stderr)
        return 130
    if data.decoded is not None:
        _tell_late(spec, console)
    _check_artifacts(options.places)
    store = options.places.open(create=True)
    tell_openings(store, spec, data.test_rows, console)
    job = store.jobs.create(
        spec, seconds_used=seconds_since_start(), processor_seconds=processor_seconds()
    )
    _say(console, f"job {job.id} in {store.name}")
    return _finish(store, job, options, meter, told=time.process_time())


def resume_search(job_id: str, options: SearchOptions) -> int:
    """Go on with a job that was interrupted; return the exit status."""
    meter = EnergyMeter()
    store = options.places.open()
    job = store.jobs.get(job_id)
    if job.ended and job.state != "done":
        raise JobError(f"only a job that has not ended can be resumed, but {job.id} is {job.state}")
    _check_out(options)
    store.jobs.pause(job_id, paused=False)
    return _finish(store, job, options, meter, told=0.0)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _console(options: SearchOptions) -> Console:
    return make_console(stderr=options.as_json)


def _check_out(options: SearchOptions) -> None:
    if options.out is not None:
        check_new_folder(options.out, overwrite=options.overwrite)


def _check_artifacts(places: Places) -> None:
    try:
        places.artifacts.mkdir(parents=True, exist_ok=True)
        os.rmdir(tempfile.mkdtemp(dir=places.artifacts))
    except OSError as failure:
        raise InputError(f"the artifacts' folder must be writable: {failure}") from None


def _finish(
    store: StudyStore, job: Job, options: SearchOptions, meter: EnergyMeter, *, told: float
) -> int:
    """Work on a job to its end, and leave what was asked for; return the exit status.

    Args:
        told: processor seconds of this process that the job has been told of.
    """
    console = _console(options)
    try:
        if not job.ended:
            _work(store, job, options, console, meter, told=told)
        progress = Progress.read(store, job.id)
        if progress.job.state != "done":
            why = f": {progress.job.error}" if progress.job.error else ""
            raise JobFailed(f"job {job.id} is {progress.job.state}{why}")
        failure = _copied(progress.job, options)
        joules = _counted(store, progress.job, meter)
        _state(store, progress, options, console, joules=joules, copied=failure is None)
        if failure is not None:
            raise type(failure)(
                f"{failure}; the job is done: athanor export {job.id} --out DIR copies its model"
            ) from failure
        return 0
    except KeyboardInterrupt:
        print(f"interrupted; nothing is lost: {_resuming(job, options)}", file=sys.stderr)
        return 130
    except WorkerUnfit as failure:
        raise WorkerUnfit(f"{failure}\nonce it does: {_resuming(job, options)}") from None
    finally:
        store.close()


def _copied(job: Job, options: SearchOptions) -> AthanorError | None:
    """Copy the model folder to where it is wanted; return why it is not there, if it is not."""
    if options.out is None:
        return None
    try:
        export(options.places, job, options.out, overwrite=options.overwrite)
    except OSError as failure:
        return JobFailed(f"the model cannot be written to {options.out}: {failure}")
    except AthanorError as failure:
        return failure
    return None


def _counted(store: StudyStore, job: Job, meter: EnergyMeter) -> float | None:
    """Return what the processors took since the command began, and keep it for reports."""
    joules = meter.joules()
    if joules is not None:
        store.trials(job).add_joules(joules)
    return joules


def _resuming(job: Job, options: SearchOptions) -> str:
    return shlex.join(["athanor", "search", "--resume", job.id, *options.arguments()])


def _work(
    store: StudyStore,
    job: Job,
    options: SearchOptions,
    console: Console,
    meter: EnergyMeter,
    *,
    told: float,
) -> None:
    """Run workers until the job has ended; Ctrl-C stops them between two training steps."""
    workers = job.spec.worker_count
    cores = usable_cores()
    command = WorkerCommand(
        store_url=options.places.store_url,
        artifacts=options.places.artifacts,
        cache=options.places.cache,
        threads=max(1, cores // workers),
        workers=workers,
        job_id=job.id,
    )

    with (
        Interruption() as interruption,
        ProgressView(console, quiet=options.quiet) as view,
        LocalPool(command, store=store, size=workers) as pool,
    ):
        store.patience.wait, store.patience.tell = interruption.wait, view.say
        while True:
            interruption.check()
            used = time.process_time()  # workers, which are children, tell their own
            store.jobs.tick(job.id, processor_seconds=used - told)
            told = used
            meter.joules()  # often enough to notice when a counter begins again
            progress = Progress.read(store, job.id)
            view.show(progress, store.beats.at_work(job.id))
            if progress.job.ended:
                return
            try:
                pool.watch()
            except JobFailed as failure:
                store.jobs.stop(job.id, state="failed", error=str(failure))
                raise
            time.sleep(POLL_SECONDS)


def export(places: Places, job: Job, out: Path, *, overwrite: bool) -> None:
    """Copy a job's verified model folder to `out`, whole or not at all.

    Raises:
        JobError: the job has no model folder.
    """
    if job.state != "done" or job.result is None:
        raise JobError(f"only a job that is done has a model, but {job.id} is {job.state}")
    source = places.files(job.id).folder / job.result["model"]
    if not source.is_dir():
        raise JobError(f"the model of {job.id} must be at {source}, but it is not there")
    check_new_folder(out, overwrite=overwrite)
    with new_folder(out.absolute(), replace=overwrite) as staging:
        shutil.copytree(source, staging, dirs_exist_ok=True)


def _state(
    store: StudyStore,
    progress: Progress,
    options: SearchOptions,
    console: Console,
    *,
    joules: float | None,
    copied: bool,
) -> None:
    """Print the leaderboard and the final statement.

    Args:
        joules: that the processors have taken since the command began.
        copied: the model is where it was wanted to be.
    """
    out = options.out if copied else None
    board = Leaderboard.read(store, progress)
    if options.as_json:
        told = {key: value for key, value in board.json().items() if key not in ("job", "state")}
        told["leaderboard"] = told.pop("trials")
        where = None if out is None else str(out)
        print(json.dumps({**job_json(progress.job), **told, "joules": joules, "out": where}))
        return
    board.print(console)
    print_statement(console, progress)
    if joules is not None:
        _say(console, f"energy: {joules / WATT_HOUR:.1f} Wh by this machine's processors")
    if out is not None:
        _say(console, f"model folder: {out}")
    elif options.out is None and progress.job.result is not None:
        kept = options.places.files(progress.job.id).folder / progress.job.result["model"]
        _say(
            console, f"model folder: {kept} (athanor export {progress.job.id} --out DIR copies it)"
        )
