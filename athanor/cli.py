"""The command line: each command is a thin verb over the packages left of it.

Exit statuses: 0 done, 1 the job failed, 2 wrong usage or input, 130 interrupted.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError
from typer.exceptions import TyperException

from athanor import (
    __version__,
    cli_dashboard,
    cli_data,
    cli_export,
    cli_jobs,
    cli_landing,
    cli_report,
    cli_space,
)
from athanor.console import make_console
from athanor.options import (
    ArtifactsOption,
    BudgetOption,
    JsonOption,
    OutOption,
    OverwriteOption,
    QuietOption,
    ReopenOption,
    StoreOption,
    WorkersOption,
)
from athanor.places import Places
from athanor.searching import (
    SearchOptions,
    resume_search,
    run_search,
)
from athanor.searching import submit as submit_job
from athanor.tables import job_json
from search.job_spec import JobSpec
from search.metrics import METRIC_NAMES
from search.pruning import PRUNINGS
from search.sampling import STRATEGIES
from search.store.schema import HEAD
from spaces.errors import AthanorError, InputError

app = typer.Typer(
    name="athanor",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Search for convolutional networks with little compute, and get a verified model.",
)


def _version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Search for convolutional networks with little compute, and get a verified model."""
    if debug:
        os.environ["ATHANOR_DEBUG"] = "1"


@app.command()
def search(
    job_file: Annotated[
        Path | None, typer.Argument(metavar="JOB.yaml", help="A job file; options override it.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="A data set's name, a file or a folder."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Pixels of image files' short sides.")
    ] = None,
    image_formats: Annotated[
        list[str] | None, typer.Option("--format", help="That may be read. [png, jpeg]")
    ] = None,
    budget: BudgetOption = None,
    device_budget: Annotated[
        str | None,
        typer.Option("--device-budget", help="Time of all cores, or of the GPU, that work on it."),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", help="How many trials.")] = None,
    max_epochs: Annotated[
        int | None, typer.Option("--max-epochs", help="Epochs of all trials together.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    workers: WorkersOption = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="Networks of each finalist. [by workers: 4 to 8]")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", help="Part the rows so often into folds. [1]")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help=f"{', '.join(METRIC_NAMES)}.")
    ] = None,
    final: Annotated[
        str | None, typer.Option("--final", help="What the folds give: bag, best or refit.")
    ] = None,
    finalists: Annotated[
        int | None, typer.Option("--finalists", help="Trials trained for the ensemble. [by budget]")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="A YAML file, a network's name, module:Object.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option("--strategy", help=f"{', '.join(STRATEGIES)}.")
    ] = None,
    pruning: Annotated[
        str | None, typer.Option("--pruning", help=f"{', '.join(PRUNINGS)}.")
    ] = None,
    minimize: Annotated[
        str | None,
        typer.Option("--minimize", help="A cost to keep small, too: parameters, macs, latency."),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option("--warm-start", metavar="JOB", help="Try an earlier job's best trials first."),
    ] = None,
    reopen_test: ReopenOption = False,
    keep_test_closed: Annotated[
        bool, typer.Option("--keep-test-closed", help="Do not open the test set: a first look.")
    ] = False,
    name: Annotated[str | None, typer.Option("--name", help="The job's name.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="JOB", help="Go on with a job.")
    ] = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Search, train the finalists on several folds, ensemble, test once, export."""
    options = SearchOptions(
        places=Places.of(store, artifacts),
        out=out,
        overwrite=overwrite,
        as_json=as_json,
        quiet=quiet,
    )
    given = {
        "data": data,
        "image_size": image_size,
        "image_formats": image_formats or None,
        "budget": budget,
        "device_budget": device_budget,
        "trials": trials,
        "max_epochs": max_epochs,
        "seed": seed,
        "workers": workers,
        "folds": folds,
        "repeats": repeats,
        "metric": metric,
        "final": final,
        "finalists": finalists,
        "space": space,
        "strategy": strategy,
        "pruning": pruning,
        "minimize": minimize,
        "warm_start": warm_start,
        "reopen_test": reopen_test or None,
        "keep_test_closed": keep_test_closed or None,
        "name": name,
    }
    if resume is not None:
        _refuse_with_resume(job_file, given)
        raise typer.Exit(resume_search(resume, options))
    raise typer.Exit(run_search(read_spec(job_file, given), options))


@app.command()
def submit(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="A job file.")],
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a job for `athanor worker`."""
    spec = JobSpec.read(job_file)
    job = submit_job(spec, Places.of(store, artifacts), make_console(stderr=True), seconds_used=0.0)
    print(json.dumps(job_json(job)) if as_json else job.id)


@app.command()
def worker(
    workers: WorkersOption = None,
    job: Annotated[str | None, typer.Option("--job", help="Work on this job, then end.")] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster's, or local.")
    ] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Workers on Ray.")] = None,
    cpus: Annotated[float, typer.Option("--cpus", min=0.1, help="Cores of a slot.")] = 1.0,
    gpus: Annotated[float, typer.Option("--gpus", min=0.0, help="GPUs of a slot, or less.")] = 0.0,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Work on queued jobs until Ctrl-C or SIGTERM."""
    from athanor.working import run_workers
    from workers.pool import RaySlots

    if ray is None and (slots is not None or cpus != 1.0 or gpus != 0.0):
        raise InputError("--slots, --cpus and --gpus describe slots on Ray, but --ray is missing")
    if ray is not None and workers is not None:
        raise InputError("on Ray, workers are --slots, but got --workers too")
    on_ray = None if ray is None else RaySlots(address=ray, cpus=cpus, gpus=gpus)
    size = workers if on_ray is None else slots
    places = Places.of(store, artifacts)
    raise typer.Exit(run_workers(places, size=size, job_id=job, slots=on_ray))


@app.command()
def migrate(store: StoreOption = None) -> None:
    """Make the study store, or bring an older one to this version's schema."""
    opened = Places.of(store, None).open(create=True)
    print(f"{opened.name} has schema {HEAD}")


cli_jobs.register(app)
cli_landing.register(app)
cli_report.register(app)
cli_export.register(app)
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_space.app, name="space")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...", help="Image files, folders, patterns; or an .npz; or a data set."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="In place of inputs: the test images of what a search takes."),
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Classes of each image. [all]")
    ] = None,
    image_formats: Annotated[
        list[str] | None, typer.Option("--format", help="That may be read. [png, jpeg]")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write to.")] = None,
    reopen_test: ReopenOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict classes and probabilities, as CSV or JSON; with labels, the accuracy as well."""
    from athanor.predicting import PredictOptions, run_predict

    if bool(inputs) == (data is not None):
        got = "both" if inputs else "neither"
        raise InputError(f"what is predicted must be inputs or --data, but got {got}")
    images = cli_data.read_image_options(image_formats=image_formats or None)
    options = PredictOptions(
        places=Places.of(store, None),
        out=out,
        as_json=as_json,
        top=top,
        images=images,
        of_test=data is not None,
        reopen_test=reopen_test,
    )
    run_predict(model, [data] if data is not None else inputs or [], options)


cli_dashboard.register(app)


def read_spec(job_file: Path | None, given: dict[str, Any]) -> JobSpec:
    """Combine a job file and options; a limit given on the command line replaces the file's."""
    options = {key: value for key, value in given.items() if value is not None}
    if job_file is None:
        if "data" not in options:
            raise InputError("a search needs --data or a job file, but got neither")
        return JobSpec.parse(options)
    return JobSpec.read(job_file, overrides=options)


def _refuse_with_resume(job_file: Path | None, given: dict[str, Any]) -> None:
    names = {"image_formats": "format"}
    stated = [names.get(key, key) for key, value in given.items() if value is not None]
    extra = [f"--{key.replace('_', '-')}" for key in stated]
    if job_file is not None:
        extra.insert(0, str(job_file))
    if extra:
        raise InputError(f"--resume goes on with a job as it is, but got {', '.join(extra)} too")


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run())


def run() -> int:
    """Run the command line; return the exit status."""
    try:
        return int(app(standalone_mode=False) or 0)
    except AthanorError as failure:
        if os.environ.get("ATHANOR_DEBUG"):
            traceback.print_exc()
        print(f"error: {failure}", file=sys.stderr)
        return 2 if isinstance(failure, InputError) else 1
    except TyperException as failure:
        print(f"error: {failure.format_message()}", file=sys.stderr)
        return failure.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, SQLAlchemyError) as failure:
        if os.environ.get("ATHANOR_DEBUG"):
            traceback.print_exc()
        reason = str(failure).splitlines()[0]
        print(f"error: {type(failure).__name__}: {reason}", file=sys.stderr)
        return 1
