"""`athanor export` and `athanor verify`: a folder that runs anywhere, and whether it still does."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from athanor.console import make_console
from athanor.places import TOP_INDEX, Places, check_new_folder
from spaces.errors import InputError
from spaces.values import nearest

if TYPE_CHECKING:
    from workers.export import Wanted
    from workers.model_choice import JobToExport

FORMAT_NAMES = ("safetensors", "torch-export", "onnx", "onnx-int8")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a person wants of an export.

    Attributes:
        model: ensemble, best, distilled, or the number of a trial.
        top: a folder for each of so many best trials instead.
        samples: whether some validation images go with the model.
    """

    out: Path
    overwrite: bool
    formats: tuple[str, ...]
    model: str | None = None
    top: int | None = None
    licence: str | None = None
    samples: bool = True
    as_json: bool = False

    def wanted(self, model: str) -> "Wanted":
        """Return what a folder with these networks shall hold."""
        from workers.export import Wanted

        return Wanted(model, self.formats, licence=self.licence, samples=self.samples)


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the formats of a list like `safetensors,onnx`."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in FORMAT_NAMES:
            hint = nearest(name, list(FORMAT_NAMES))
            raise InputError(f"--format must list known formats, but got {name!r}; {hint}")
    return names


def run_export(places: Places, job_id: str, options: ExportOptions) -> None:
    """Export what was asked for, verified, whole or not at all.

    Raises:
        InputError: options contradict each other, or the folder cannot be written.
        DataError: the data are not those that the job was run on.
        JobError: the job, or the trial, has no such networks.
        JobFailed: a graph predicts otherwise than the networks.
    """
    if options.model is not None and options.top is not None:
        raise InputError("an export is of --model or of the --top trials, but got both")
    check_new_folder(options.out, overwrite=options.overwrite)
    tell = _teller(make_console(stderr=True))
    with closing(places.open()) as store:
        job = store.jobs.get(job_id)
        from athanor.report.reading import loading
        from workers.export import write_export
        from workers.files import new_folder
        from workers.model_choice import ENSEMBLE, JobToExport

        data = loading(places, tell)(job)
        source = JobToExport(store=store, job=job, root=places.artifacts, data=data)
        with new_folder(options.out.absolute(), replace=options.overwrite) as staging:
            if options.top is not None:
                told = _write_top(source, options, options.top, staging, tell=tell)
            else:
                write_export(source, options.wanted(options.model or ENSEMBLE), staging, tell=tell)
                told = {".": _verification(staging)}
    _print(options, told)


def _write_top(
    source: "JobToExport",
    options: ExportOptions,
    count: int,
    folder: Path,
    *,
    tell: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Write a folder for each of the best trials, and their index; return what was measured."""
    from workers.export import write_export
    from workers.files import new_folder
    from workers.model_choice import best_trials

    told, index = {}, []
    for place, record in enumerate(best_trials(source, count), start=1):
        name = f"{place}-trial-{record.number}"
        tell(f"trial {record.number}, {place} of {count}")
        with new_folder(folder / name) as staging:
            write_export(source, options.wanted(str(record.number)), staging, tell=tell)
        told[name] = _verification(folder / name)
        index.append({"folder": name, "trial": record.number, "score": record.score})
    (folder / TOP_INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return told


def _verification(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "verification.json").read_text())
    return found


def _teller(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def _print(options: ExportOptions, told: dict[str, dict[str, Any]]) -> None:
    if options.as_json:
        print(json.dumps({"out": str(options.out), "folders": told}))
        return
    console = make_console()
    for name, verification in told.items():
        folder = options.out if name == "." else options.out / name
        console.print(verification_table(verification, title=str(folder)))
    console.print(f"model folder: {options.out}", highlight=False, soft_wrap=True)


def verification_table(verification: dict[str, Any], *, title: str) -> Table:
    """Draw how far each model of a folder is from the float32 networks, and what it costs."""
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("size", "difference", "same class", "1 image", "64 images", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, found in verification["files"].items():
        table.add_row(
            name,
            f"{found['bytes'] / 1e6:.2f} MB" if "bytes" in found else "",
            f"{found['max_difference']:.1e}" if "max_difference" in found else "",
            f"{found['same_class']:.2%}" if "same_class" in found else "",
            f"{1e3 * found['latency_1']:.2f} ms",
            f"{1e3 * found['latency_64']:.1f} ms",
            f"{found['peak_memory'] / 2**20:.0f} MiB",
        )
    return table


def run_verify(folder: Path, *, as_json: bool) -> None:
    """Verify a folder and say what was found.

    Raises:
        ModelFolderError: a file is missing, was altered, or does not fit `model.json`.
        JobFailed: a model does not load, or says something else than it did.
    """
    from workers.reverification import verify_folder

    found = verify_folder(folder, tell=_teller(make_console(stderr=True)))
    if as_json:
        print(json.dumps({"folder": str(folder), **found}))
        return
    console = make_console()
    if found["files"]:
        console.print(verification_table(found, title=f"{found['rows']} sample images"))
    else:
        console.print("the folder has no samples: hashes alone were compared", highlight=False)
    console.print(f"{folder}: verified, {found['hashes']} files", highlight=False, soft_wrap=True)
