"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="URL or path of the study store. [env: ATHANOR_STORE]"),
]
ArtifactsOption = Annotated[
    Path | None,
    typer.Option("--artifacts", help="Folder of checkpoints and models. [env: ATHANOR_ARTIFACTS]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder to write the model to.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace the model folder that is there.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes. [one a core, 8 at most; 2 with a GPU]"),
]
BudgetOption = Annotated[
    str | None, typer.Option("--budget", help="Time for everything: 90s, 10m, 1h30m.")
]
ReopenOption = Annotated[
    bool, typer.Option("--reopen-test", help="Open a test set that has been opened before.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
