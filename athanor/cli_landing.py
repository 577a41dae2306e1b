"""The commands that land a finished job's trials once more: ensemble, refit, distill."""

from typing import Annotated

import typer

from athanor.options import (
    ArtifactsOption,
    BudgetOption,
    JobArgument,
    JsonOption,
    OutOption,
    OverwriteOption,
    QuietOption,
    ReopenOption,
    StoreOption,
)
from athanor.places import Places
from athanor.searching import SearchOptions


def ensemble(
    job: JobArgument,
    members: Annotated[
        int | None, typer.Option("--members", min=1, help="Trials to choose from. [its finalists]")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", help="On all networks together: latency=5ms, parameters=500k."),
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Networks of each trial.")] = None,
    final: Annotated[
        str | None,
        typer.Option("--final", help="bag, best or refit. [refit after a refit, else bag]"),
    ] = None,
    budget: BudgetOption = None,
    reopen_test: ReopenOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose an ensemble of a finished job's trials anew; folds that they lack are trained."""
    from athanor.landing_again import land_again, parse_limits

    options = SearchOptions(Places.of(store, artifacts), out, overwrite, as_json, quiet)
    changes = {
        "finalists": members,
        "folds": folds,
        "final": final,
        "budget": budget,
        "reopen_test": reopen_test or None,
        **parse_limits(limit or []),
    }
    raise typer.Exit(land_again(job, options, changes))


def refit(
    job: JobArgument,
    budget: BudgetOption = None,
    reopen_test: ReopenOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a finished job's finalists once more, on all rows, as long as on a fold."""
    from athanor.landing_again import refit as run

    options = SearchOptions(Places.of(store, artifacts), out, overwrite, as_json, quiet)
    changes = {"budget": budget, "reopen_test": reopen_test or None}
    raise typer.Exit(run(job, options, changes))


def distill(
    job: JobArgument,
    trial: Annotated[int | None, typer.Option("--trial", help="The student.")] = None,
    max_parameters: Annotated[
        str | None,
        typer.Option("--max-parameters", help="The best trial so small learns."),
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="That say how good it is.")] = None,
    budget: BudgetOption = None,
    reopen_test: ReopenOption = False,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Teach one network, on all rows, what a finished job's ensemble knows."""
    from athanor.landing_again import distill as run

    options = SearchOptions(Places.of(store, artifacts), out, overwrite, as_json, quiet)
    changes = {"folds": folds, "budget": budget, "reopen_test": reopen_test or None}
    raise typer.Exit(run(job, options, changes, trial=trial, parameters=max_parameters))


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (ensemble, refit, distill):
        app.command()(command)
