"""The commands that explain jobs that have run: `athanor report`, `compare` and `log`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from athanor.console import make_console
from athanor.options import ArtifactsOption, JobArgument, JsonOption, QuietOption, StoreOption
from athanor.places import Places
from spaces.errors import InputError


def report(
    job: JobArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. [JOB.html, or JOB.md]")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="html or markdown. [by the file's name]")
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=0, max=48, help="Mistakes and class maps to show.")
    ] = 12,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write what a job has found, how sure that is, and why: a file that needs no network."""
    from athanor.report.writing import ENDINGS, check_out, format_of, report_json, write_report

    console, places = make_console(stderr=True), Places.of(store, artifacts)

    def tell(text: str) -> None:
        if not quiet:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

    if as_json:
        print(report_json(places, job, tell=tell))
        return
    kind = format_of(out, form)
    file = out or Path(f"{job}{ENDINGS[kind]}")
    check_out(file)
    write_report(places, job, file, kind=kind, images=images, tell=tell)
    print(file)


def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Two jobs' ids, or more.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="HTML file to write as well.")
    ] = None,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show jobs side by side, and by how much one is better on the same rows."""
    from athanor.comparison.pages import comparison_page, print_comparison
    from athanor.comparison.reading import read_comparison
    from athanor.report.reading import loading
    from athanor.report.writing import check_out
    from workers.files import write_atomically

    if out is not None:
        check_out(out)
    console, places = make_console(stderr=True), Places.of(store, artifacts)

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    opened = places.open()
    found = read_comparison(
        opened,
        jobs,
        places=places,
        load=loading(places, tell),
    )
    opened.close()
    if out is not None:
        write_atomically(out.absolute(), comparison_page(found).encode())
    if as_json:
        print(json.dumps(found.json()))
    else:
        print_comparison(found, make_console())


def log(
    job: JobArgument,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="DIR", help="A new folder of events.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option("--mlflow", metavar="URI", help="A tracking server's address.")
    ] = None,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Write what the store has of a job and its trials for TensorBoard or MLflow."""
    from athanor.tracked import tracked_runs
    from athanor.trackers import log_to_mlflow, log_to_tensorboard

    if tensorboard is None and mlflow is None:
        raise InputError("log needs --tensorboard or --mlflow, but got neither")
    places = Places.of(store, artifacts)
    opened = places.open()
    runs = tracked_runs(opened, job, files=places.files(job))
    opened.close()
    if tensorboard is not None:
        log_to_tensorboard(runs, tensorboard)
        print(tensorboard)
    if mlflow is not None:
        log_to_mlflow(runs, mlflow)
        print(mlflow)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (report, compare, log):
        app.command()(command)
