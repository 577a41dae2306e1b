"""The commands that watch: watch, on a terminal, and dashboard, for browsers."""

from pathlib import Path
from typing import Annotated

import typer

from athanor.console import make_console
from athanor.options import ArtifactsOption, JobArgument, JsonOption, QuietOption, StoreOption
from athanor.places import Places


def dashboard(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others need a token of yours.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Holds the token. [env: ATHANOR_DASHBOARD_TOKEN]"),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name by which browsers reach it, such as a proxy's."),
    ] = None,
    writable: Annotated[
        bool, typer.Option("--writable", help="Notes and artifacts may be written.")
    ] = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an overview, the Optuna dashboard and metrics, behind a token."""
    from athanor.dashboard.server import DashboardOptions, serve_dashboard

    options = DashboardOptions(host, port, token_file, tuple(name or ()), writable)
    serve_dashboard(Places.of(store, artifacts), options, console=make_console(), as_json=as_json)


def watch(
    job: JobArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Follow a job until it ends; --json prints a line whenever something has happened."""
    from athanor.watching import watch_job

    opened = Places.of(store, None).open(reads_only=True)
    raise typer.Exit(watch_job(opened, job, quiet=quiet, as_json=as_json))


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (watch, dashboard):
        app.command()(command)
