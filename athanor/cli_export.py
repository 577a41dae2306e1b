"""The commands that hand a model out and look after it: export, verify."""

from pathlib import Path
from typing import Annotated

import typer

from athanor.exporting import (
    FORMAT_NAMES,
    ExportOptions,
    parse_formats,
    run_export,
    run_verify,
)
from athanor.options import ArtifactsOption, JobArgument, JsonOption, OverwriteOption, StoreOption
from athanor.places import Places


def export(
    job: JobArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the model to.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="ensemble, best, distilled or a trial's number. [ensemble]"),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help=f"Of {', '.join(FORMAT_NAMES)}, with commas between.")
    ] = "safetensors,onnx",
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="A folder for each of the best trials.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="What the model card says of it.")
    ] = None,
    no_samples: Annotated[
        bool, typer.Option("--no-samples", help="Leave no validation images in the folder.")
    ] = False,
    overwrite: OverwriteOption = False,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a verified folder that runs without Athanor: weights, graphs, script, model card."""
    options = ExportOptions(
        out=out,
        overwrite=overwrite,
        formats=parse_formats(formats),
        model=model,
        top=top,
        licence=licence,
        samples=not no_samples,
        as_json=as_json,
    )
    run_export(Places.of(store, artifacts), job, options)


def verify(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A model folder.")],
    as_json: JsonOption = False,
) -> None:
    """Compare a folder's files with their hashes, and its models with its sample images."""
    run_verify(model, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (export, verify):
        app.command()(command)
