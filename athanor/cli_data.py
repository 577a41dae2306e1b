"""The commands that look at images: `athanor data check` and `athanor data noise`."""

from pathlib import Path
from typing import Annotated

import typer

from athanor.options import ArtifactsOption, JobArgument, JsonOption, StoreOption
from athanor.places import Places
from search.sources import ImageOptions
from spaces.errors import JobError
from spaces.values import validated

app = typer.Typer(no_args_is_help=True, help="Look at images before a search, or at their labels.")

SheetOption = Annotated[
    Path | None, typer.Option("--sheet", metavar="FILE.png", help="Write examples as a picture.")
]


def read_image_options(
    *,
    image_size: int | None = None,
    channels: int | None = None,
    image_formats: list[str] | None = None,
    max_pixels: int | None = None,
) -> ImageOptions:
    """Return what options say of how image files are read; `JobError` if a rule is broken."""
    given = {
        "image_size": image_size,
        "channels": channels,
        "image_formats": image_formats,
        "max_pixels": max_pixels,
    }
    values = {name: value for name, value in given.items() if value is not None}
    return validated(ImageOptions, values, error=JobError)


@app.command()
def check(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A data set's name, a file or a folder.")
    ],
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Pixels of the short side.")
    ] = None,
    channels: Annotated[int | None, typer.Option("--channels", help="1 or 3. [as it is]")] = None,
    image_formats: Annotated[
        list[str] | None, typer.Option("--format", help="That may be read. [png, jpeg]")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option("--max-pixels", help="Of an image. [25000000]")
    ] = None,
    sheet: SheetOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 2 if anything is wrong.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with images, and what would be done: copies, broken files, odd labels."""
    from athanor.checking import CheckOptions, check_source

    images = read_image_options(
        image_size=image_size,
        channels=channels,
        image_formats=image_formats or None,
        max_pixels=max_pixels,
    )
    places = Places.of(None, None)
    check_source(source, images, places, CheckOptions(as_json, sheet, strict))


@app.command()
def noise(
    job: JobArgument,
    top: Annotated[int | None, typer.Option("--top", min=1, help="How many at most.")] = None,
    sheet: SheetOption = None,
    store: StoreOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List labels that a job's networks, which had not learnt from them, hold for wrong."""
    from athanor.checking import CheckOptions, check_labels

    check_labels(job, Places.of(store, artifacts), CheckOptions(as_json, sheet), top=top)
