"""Image files decoded once, kept as one array that every worker maps into its memory.

`CACHE/decoded/KEY/` holds `images.npy`, uint8 of (rows, height, width, channels), the training rows
first; `labels.npy`; `digests.npy`, of the files' contents; `columns.npz`; `rows.json`, what each
image is called; and `index.json`, with the checksums of these. The key is that of the source's
paths, sizes and times of change and of how they are read. A folder comes into being whole, under a
lock: others that need it wait.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.durable import make_folder
from search.sources import ImageOptions
from search.splits import Columns
from spaces.errors import DataError
from workers.assigning import assigned
from workers.decode_worker import IMAGES
from workers.decoding_run import decode_listing
from workers.files import new_folder
from workers.listing import Listing
from workers.time_limit import TimeLimit

FORMAT = 3
INDEX, LABELS, COLUMNS, ROWS = "index.json", "labels.npy", "columns.npz", "rows.json"
DIGESTS = "digests.npy"
CHUNK = 64 * 2**20  # bytes that are copied or hashed at a time


Progress = Callable[[str], None]


@dataclass(frozen=True)
class Kept:
    """A source as it lies in the cache.

    Attributes:
        images: uint8 (rows, height, width, channels), mapped, read only; training rows first.
        digests: uint8 (rows, bytes), of what each image was decoded from.
        near: (train,) groups of equal or nearly equal images; None: there are none.
        report: what was found when it was decoded (`workers.preflight`).
    """

    folder: Path
    images: NDArray[np.uint8]
    labels: NDArray[Any]
    digests: NDArray[np.uint8]
    train: int
    columns: Columns
    class_names: tuple[str, ...]
    test_split: str
    report: dict[str, Any]

    @property
    def rows(self) -> list[str]:
        """What each image is called."""
        names: list[str] = json.loads((self.folder / ROWS).read_text(encoding="utf-8"))
        return names


def kept(
    listing: Listing,
    options: ImageOptions,
    *,
    cache: Path,
    progress: Progress,
    verify: bool,
    limit: TimeLimit | None = None,
) -> Kept:
    """Open a source's decoded images, or decode them now.

    Args:
        verify: read the files' checksums, too, and decode anew if they are wrong.
        limit: of the time that decoding may take.

    Raises:
        DataError: too many images cannot be read, the disk is too small, a rule is broken, or
            decoding takes longer than it may.
    """
    key = listing.key({"format": FORMAT, **options.to_json()})[:32]
    folder = cache / "decoded" / key
    found = _open(folder, verify=verify)
    if found is not None:
        return found
    with _lock(folder, progress):
        found = _open(folder, verify=verify)
        if found is None:
            _remove_remains(folder)
            with new_folder(folder, replace=True) as staging:
                _build(listing, options, staging, progress, limit)
            found = _open(folder, verify=False)
    assert found is not None, "what has just been written can be opened"
    return found


@contextmanager
def _lock(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of a folder that is to be made."""
    make_folder(folder.parent)
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another process that decodes these images")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_remains(folder: Path) -> None:
    """Remove what killed processes have left of a folder; whoever calls holds its lock."""
    for remains in folder.parent.glob(f".{folder.name}.*"):
        if remains.is_dir():
            shutil.rmtree(remains, ignore_errors=True)


def _open(folder: Path, *, verify: bool) -> Kept | None:
    """Return what lies in a folder of the cache; None if it is not there or not as written.

    Raises:
        DataError: the system does not map the images.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] != FORMAT or not _as_written(folder, index["files"], verify=verify):
            return None
        # Not "c": of what may be written to, the system promises memory for all of it.
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        labels = np.load(folder / LABELS, allow_pickle=False)
        digests = np.load(folder / DIGESTS, allow_pickle=False)
        with np.load(folder / COLUMNS, allow_pickle=False) as stored:
            columns = Columns(**{name: stored[name] for name in stored.files})
    except (OSError, ValueError, KeyError) as failure:
        if getattr(failure, "errno", None) == errno.ENOMEM:  # the file is as it should be
            raise DataError(f"{folder} must be mapped into memory, but: {failure}") from None
        return None
    return Kept(
        folder=folder,
        images=np.asarray(images),
        labels=labels,
        digests=digests,
        train=index["train"],
        columns=columns,
        class_names=tuple(index["class_names"]),
        test_split=index["test_split"],
        report=index["report"],
    )


def _as_written(folder: Path, files: dict[str, Any], *, verify: bool) -> bool:
    """Whether files have their sizes and times of change, or else their checksums."""
    for name, known in files.items():
        state = (folder / name).stat()
        if state.st_size != known["bytes"]:
            return False
        touched = state.st_mtime_ns != known["changed"]
        if (verify or touched) and checksum(folder / name) != known["sha256"]:
            return False
    return True


def checksum(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(
    listing: Listing,
    options: ImageOptions,
    staging: Path,
    progress: Progress,
    limit: TimeLimit | None,
) -> None:
    """Decode all images into a folder, and part their rows."""
    with tempfile.TemporaryDirectory(prefix=f"{staging.name}.", dir=staging.parent) as scratch:
        decoded = decode_listing(listing, options, Path(scratch), progress, limit=limit)
        plan = assigned(listing, decoded, progress)
        ordered(decoded.images, plan.order, staging / IMAGES)
        rows = [listing.rows[row] for row in plan.order]
    np.save(staging / LABELS, listing.labels[plan.order], allow_pickle=False)
    np.save(staging / DIGESTS, decoded.digests[plan.order], allow_pickle=False)
    given = {each.name: getattr(plan.columns, each.name) for each in fields(plan.columns)}
    arrays = {name: array for name, array in given.items() if array is not None}
    np.savez(staging / COLUMNS, allow_pickle=False, **arrays)
    (staging / ROWS).write_text(json.dumps(rows), encoding="utf-8")
    names = (IMAGES, LABELS, DIGESTS, COLUMNS, ROWS)
    index = {
        "format": FORMAT,
        "source": listing.name,
        "options": options.to_json(),
        "train": plan.train,
        "class_names": list(listing.class_names),
        "test_split": plan.test_split,
        "report": plan.report,
        "files": {name: _state(staging / name) for name in names},
    }
    (staging / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def ordered(images: NDArray[np.uint8], order: NDArray[np.int64], path: Path) -> None:
    """Write some of the rows of an array that lies in a file, in an order, as `.npy`."""
    whole = np.array_equal(order, np.arange(len(images)))
    source = getattr(images, "filename", None)
    if whole and source is not None:
        os.replace(source, path)
        return
    shape = (len(order), *images.shape[1:])
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    at_once = max(1, CHUNK // max(1, int(np.prod(shape[1:]))))
    for begin in range(0, len(order), at_once):
        out[begin : begin + at_once] = images[order[begin : begin + at_once]]
    out.flush()


def _state(path: Path) -> dict[str, Any]:
    state = path.stat()
    return {
        "bytes": state.st_size,
        "changed": state.st_mtime_ns,
        "sha256": checksum(path),
    }
