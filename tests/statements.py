"""The final statement of a job as plain text."""

from rich.console import Console

from athanor.progress import Progress
from athanor.statement import print_statement
from search.job import Job
from search.store import FoldTask


def statement_of(job: Job, *folds: FoldTask) -> str:
    """Return what is printed at the end of a job whose folds are these."""
    console = Console(record=True, width=200)
    print_statement(console, Progress(job=job, trials=[], folds=list(folds)))
    return console.export_text()
