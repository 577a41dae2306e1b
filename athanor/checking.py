"""What `athanor data` tells of images: before a search, and of their labels after one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from athanor.console import make_console
from athanor.places import Places
from search.folds import Folds
from search.job import Job
from search.label_noise import suspected_labels
from search.predictions import OutOfFoldPredictions
from search.sources import ImageOptions, absolute
from search.store import StudyStore
from spaces.errors import DataError, JobError
from workers.contact_sheet import write_sheet
from workers.data import load_data
from workers.fold_files import FoldFiles
from workers.image_data import ImageData
from workers.preflight import Finding, Preflight

MANY = 10_000  # images, from which comparing them takes longer than a moment
COLUMNS = ("image", "label", "predicted", "probability")


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How a check is told.

    Attributes:
        sheet: a PNG file to write examples to.
        strict: whether findings are refused.
    """

    as_json: bool
    sheet: Path | None = None
    strict: bool = False


def check_source(source: str, images: ImageOptions, places: Places, options: CheckOptions) -> None:
    """Look at a source, and tell what is in it.

    Raises:
        DataError: it cannot be used, or there are findings and the check is strict.
    """
    console = make_console(stderr=True)
    tell = _teller(console)
    source = absolute(source)
    data = load_data(source, images, cache=places.cache, progress=tell, verify=True)
    if data.decoded is None and len(data.train_labels) + len(data.test_labels) > MANY:
        tell("comparing images with each other")
    preflight = Preflight(data, near=True)
    if options.sheet is not None:
        write_sheet(options.sheet, preflight, preflight.findings)
    if options.as_json:
        found = [finding.to_json() for finding in preflight.findings]
        print(json.dumps({**_summary(source, data), "findings": found}))
    else:
        _print(make_console(), data, preflight.findings)
    if options.strict:
        refuse(preflight.findings)


def refuse(findings: tuple[Finding, ...]) -> None:
    """Raise `DataError` if there is a finding that is more than a note."""
    wrong = [finding for finding in findings if finding.refused]
    if wrong:
        raise DataError(f"strict checks allow no findings, but {'; '.join(f.said for f in wrong)}")


def short_check(data: ImageData, *, strict: bool, console: Console) -> None:
    """Tell what is wrong with the data of a job, at once; refuse it if the check is strict.

    Raises:
        DataError: there are findings and the check is strict.
    """
    findings = Preflight(data).findings
    tell = _teller(console)
    for finding in findings:
        tell(finding.said if finding.done == "told" else f"{finding.said}: {finding.done}")
    if strict:
        refuse(findings)


def _teller(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def _summary(source: str, data: ImageData) -> dict[str, object]:
    names = len(data.class_names)
    counts = np.bincount(data.train_labels, minlength=names).tolist() if names else None
    return {
        "source": source,
        "training_images": len(data.train_labels),
        "test_images": len(data.test_labels),
        "test_split": data.test_split,
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        "training_images_by_class": counts,
        "cache": None if data.decoded is None else str(data.decoded.folder),
    }


def _print(console: Console, data: ImageData, findings: tuple[Finding, ...]) -> None:
    height, width, channels = data.image_shape
    kinds = f"{len(data.class_names)} classes" if data.class_names else "numbers to predict"
    console.print(
        f"{data.name}: {len(data.train_labels):,} training and {len(data.test_labels):,} test "
        f"images of {height}x{width}x{channels}, {kinds}; test {data.test_split}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if not findings:
        console.print("nothing was found")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("found", "what is done", "for example"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        done = "" if finding.done == "told" else finding.done
        table.add_row(*map(escape, (finding.said, done, finding.names[0] if finding.names else "")))
    console.print(table)


def check_labels(job_id: str, places: Places, options: CheckOptions, *, top: int | None) -> None:
    """Tell which labels of a finished job's training rows are suspected to be wrong.

    Raises:
        JobError: the job has no networks' predictions, or predicts numbers.
    """
    store = places.open()
    try:
        job = store.jobs.get(job_id)
        data, said = out_of_fold(store, job, places)
    finally:
        store.close()
    rows = suspected_labels(said)[:top]
    preflight = Preflight(data)
    covered = int(said.covered.sum())
    if options.sheet is not None:
        text = f"{len(rows):,} labels are suspected"
        examples = tuple((int(row),) for row in rows[:12])
        write_sheet(options.sheet, preflight, [Finding("labels", len(rows), text, "", examples)])
    listed = [
        {
            "image": preflight.name(int(row)),
            "row": int(row),
            "label": preflight.label(int(row)),
            "predicted": data.class_names[int(said.probabilities[row].argmax())],
            "probability": round(float(said.probabilities[row].max()), 4),
        }
        for row in rows
    ]
    if options.as_json:
        print(json.dumps({"job": job.id, "rows": covered, "suspected": listed}))
        return
    console = make_console()
    _teller(console)(
        f"{len(rows):,} of {covered:,} labels that networks were asked about are suspected "
        f"({len(data.train_labels):,} training images in all)"
    )
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for each in listed:
        table.add_row(*(escape(str(each[name])) for name in COLUMNS))
    console.print(table)


def out_of_fold(
    store: StudyStore, job: Job, places: Places
) -> tuple[ImageData, OutOfFoldPredictions]:
    """Return a job's data, and the mean of what its networks say of rows that they left out."""
    tasks = [task for task in store.folds.all(job.id) if task.done and task.files is not None]
    if job.plan is None or not tasks:
        raise JobError(f"{job.id} has no networks whose predictions could judge its labels")
    data = load_data(job.spec.data, job.spec.image_options, cache=places.cache)
    if not data.class_names:
        raise JobError(f"{job.id} predicts numbers, but only labels can be suspected")
    files = places.files(job.id)
    folds = Folds.load(files.folds(job.plan.folds_hash))
    folds.check(data.train_fingerprint)
    said = OutOfFoldPredictions.empty(data.train_labels, data.classes)
    for task in tasks:
        if task.fold < 0 or task.files is None:
            continue
        path = FoldFiles(files.folder / task.files).predictions
        if path.is_file():
            predicted = np.load(path, allow_pickle=False)
            said = said.with_fold(folds.folds[task.fold].validation_rows, predicted)
    return data, said
