"""The commands that look after jobs: list, show, pause, let go on, cancel, delete."""

import json
import platform
import sys
from pathlib import Path
from typing import Annotated

import typer

from athanor.console import make_console
from athanor.deleting import delete_job
from athanor.leaderboard import Leaderboard
from athanor.options import ArtifactsOption, JobArgument, JsonOption, StoreOption
from athanor.places import Places
from athanor.progress import Progress
from athanor.report.costs import openings_of
from athanor.statement import print_openings_since, print_statement
from athanor.tables import (
    job_json,
    jobs_table,
    status_json,
    unfit_lines,
    worker_json,
    workers_table,
)
from search.store import StudyStore
from spaces.errors import InputError, JobError


def jobs(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the jobs of the store, the newest first."""
    listed = Places.of(store, None).open(reads_only=True).jobs.list()
    if as_json:
        print(json.dumps([job_json(job) for job in listed]))
    else:
        make_console().print(jobs_table(listed))


def workers(
    here: Annotated[
        bool, typer.Option("--here", help="Those of this host; exit status 1 if there is none.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the workers that live, with what each does."""
    listed = Places.of(store, None).open(reads_only=True).beats.all()
    if here:
        listed = [worker for worker in listed if worker.host == platform.node()]
    if as_json:
        print(json.dumps([worker_json(worker) for worker in listed]))
    else:
        make_console().print(workers_table(listed))
    if here and not listed:
        raise typer.Exit(1)


def status(job: JobArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Say how far a job is, and who works on it."""
    opened = Places.of(store, None).open(reads_only=True)
    progress = Progress.read(opened, job)
    alive = opened.beats.all()
    at_work = [worker for worker in alive if worker.job_id == job]
    unfit = {} if progress.job.ended else {w.id: w.unfit[job] for w in alive if job in w.unfit}
    if as_json:
        print(json.dumps(status_json(progress, at_work, unfit)))
        return
    console = make_console()
    console.print(progress.line(), highlight=False, markup=False, soft_wrap=True)
    if progress.job.error:
        console.print(f"error: {progress.job.error}", markup=False, soft_wrap=True)
    if at_work:
        console.print(workers_table(at_work))
    elif not progress.job.ended and not progress.job.paused:
        told = f"nobody works on it; {_taking_up(job)}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    for line in unfit_lines(unfit):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if progress.job.state == "done":
        print_statement(console, progress)
        print_openings_since(console, openings_of(opened, progress.job), job=progress.job)


def leaderboard(job: JobArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Rank a job's trials, the best first."""
    opened = Places.of(store, None).open(reads_only=True)
    board = Leaderboard.read(opened, Progress.read(opened, job))
    if as_json:
        print(json.dumps(board.json()))
    else:
        board.print(make_console())


def influence(
    job: JobArgument,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also draw the effects: a .svg, .png or .pdf file."),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which hyperparameters mattered in a job's study, and what told early how trials end."""
    opened = Places.of(store, None).open()
    found = opened.jobs.get(job)
    if found.plan is None:
        raise JobError(f"only a job that has trials has influences, but {_described(opened, job)}")
    from athanor.influencing import (
        influence_json,
        influence_table,
        interactions_lines,
        signals_text,
    )
    from search.influence import influences, signals

    trials = opened.trials(found)
    named, correlations = influences(trials.study), signals(trials.records())
    if plot is not None:
        from athanor.effect_plots import draw_effects

        draw_effects(named, plot)
    if as_json:
        print(json.dumps(influence_json(named, correlations)))
        return
    console = make_console()
    console.print(influence_table(named))
    for line in interactions_lines(named.interactions):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(signals_text(correlations), highlight=False)


def pause(job: JobArgument, store: StoreOption = None) -> None:
    """Let a job rest; its workers stop within a second or two and take up other jobs."""
    opened = Places.of(store, None).open()
    if not opened.jobs.pause(job, paused=True):
        raise JobError(f"only a job under way can be paused, but {_described(opened, job)}")
    print(f"{job} paused; athanor resume {job} lets it go on")


def resume(job: JobArgument, store: StoreOption = None) -> None:
    """Let a paused job go on."""
    opened = Places.of(store, None).open()
    if not opened.jobs.pause(job, paused=False):
        more = "" if opened.jobs.get(job).ended else f"; {_taking_up(job)}"
        raise JobError(f"only a paused job can be resumed, but {_described(opened, job)}{more}")
    print(f"{job} goes on")


def cancel(job: JobArgument, store: StoreOption = None) -> None:
    """End a job; its workers stop within a second or two."""
    opened = Places.of(store, None).open()
    opened.jobs.get(job)
    if not opened.jobs.stop(job, state="cancelled"):
        raise JobError(
            f"only a job that has not ended can be cancelled, but {_described(opened, job)}"
        )
    print(f"{job} cancelled")


def delete(
    job: JobArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Forget a job: its rows, checkpoints and model. Openings of its test set stay on record."""
    places = Places.of(store, artifacts)
    opened = places.open()
    opened.jobs.get(job)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("delete must be confirmed with --yes where nobody can be asked")
        typer.confirm(f"delete {job} and all its files?", abort=True)
    delete_job(opened, job, files=places.files(job))
    print(f"{job} deleted")


def _taking_up(job_id: str) -> str:
    """Say how work on a job begins, or goes on."""
    return f"`athanor search --resume {job_id}` or `athanor worker` does"


def _described(store: StudyStore, job_id: str) -> str:
    job = store.jobs.get(job_id)
    return f"{job_id} is {'paused' if job.paused and not job.ended else job.state}"


def register(app: typer.Typer) -> None:
    """Add the commands, in the order in which the help lists them."""
    for command in (jobs, status, workers, leaderboard, influence, pause, resume, cancel, delete):
        app.command()(command)
