"""Make a job's report and write it where the user asked, whole or not at all."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from athanor.places import Places
from athanor.report.values import Report
from spaces.errors import InputError

SUFFIXES = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}
ENDINGS = {"html": ".html", "markdown": ".md"}


def format_of(out: Path | None, given: str | None) -> str:
    """Return "html" or "markdown": as it was asked, else by the file's name.

    Raises:
        InputError: neither is known.
    """
    if given is not None and given not in ENDINGS:
        raise InputError(f"--format must be one of {', '.join(ENDINGS)}, but got {given!r}")
    if given is not None or out is None:
        return given or "html"
    if out.suffix.lower() not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise InputError(f"--out must end with one of {known}, but got {out.name!r}")
    return SUFFIXES[out.suffix.lower()]


def check_out(out: Path) -> None:
    """Refuse, before any work is done, a file that cannot be written."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise InputError(f"--out must be in a folder that exists, but there is no {folder}")
    if out.is_dir():
        raise InputError(f"--out must be a file, but {out} is a folder")
    if not os.access(folder, os.W_OK):
        raise InputError(f"--out must be in a folder that can be written to, but {folder} cannot")


def write_report(
    places: Places,
    job_id: str,
    out: Path,
    *,
    kind: str,
    images: int,
    tell: Callable[[str], None],
) -> Report:
    """Write a job's report as "html" or "markdown"; return it.

    An HTML page is also left among the job's files, for the dashboard, where these can be written.

    Args:
        images: how many mistakes, and images with class maps, to show.
        tell: told what is being done.
    """
    report, page = _made(places, job_id, kind=kind, images=images, tell=tell)
    from workers.files import write_atomically

    write_atomically(out.absolute(), page.encode())
    files = places.files(job_id)
    if kind == "html" and files.folder.is_dir():
        with suppress(OSError):  # they may be somebody else's
            write_atomically(files.report, page.encode())
    return report


def report_json(places: Places, job_id: str, *, tell: Callable[[str], None]) -> str:
    """Return a job's report as JSON: figures and words, without pictures."""
    return json.dumps(_made(places, job_id, kind="json", images=0, tell=tell)[0].json())


def _made(
    places: Places, job_id: str, *, kind: str, images: int, tell: Callable[[str], None]
) -> tuple[Report, str]:
    from athanor.report.html import render_html
    from athanor.report.markdown import render_markdown
    from athanor.report.pictures import gallery_of
    from athanor.report.reading import loading, open_source, read_report

    store = places.open()
    try:
        store.jobs.get(job_id)
        tell(f"reading {job_id} and its data")
        source = open_source(
            store,
            job_id,
            files=places.files(job_id),
            load=loading(places, tell),
        )
        tell("counting mistakes, and which hyperparameters mattered")
        report = read_report(store, source)
    finally:
        store.close()
    if kind == "html":
        tell("drawing what the layers have learnt")
        return report, render_html(report, gallery_of(source, report, images=images))
    return report, render_markdown(report) if kind == "markdown" else ""
