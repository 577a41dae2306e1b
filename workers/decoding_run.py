"""All images of a listing become one array on the disk; what cannot be read is noted."""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.sources import LEAST_SIDE, ImageOptions
from spaces.errors import DataError
from workers.decode_pool import DecodePool
from workers.decode_worker import DIGEST_BYTES, IMAGES, write_request
from workers.decoding import WORDS, Shape
from workers.listing import Listing
from workers.readers import Description
from workers.time_limit import TimeLimit

LARGEST_DEFAULT = 64  # pixels of a side, unless more are asked for
UNREADABLE_SHARE = 0.5  # of the images, beyond which the source is taken for something else
SPARE_BYTES = 256 * 2**20  # of the disk, that stay free
SAID_SECONDS = 5.0  # between two lines of progress
ROWS = "rows.json"

Progress = Callable[[str], None]
Failed = dict[int, tuple[str, str]]  # by row: the reason and its details


@dataclass(frozen=True)
class Decoded:
    """Every image of a listing.

    Attributes:
        images: uint8 (rows, height, width, channels), mapped; black where none could be read.
        digests: (rows, bytes) uint8, of each image file's content; zeros where none could be read.
        failures: by row, the reason and its details.
        shape: of each image.
        notes: how sizes and channels were made equal, for people.
    """

    images: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    failures: Failed
    shape: Shape
    notes: tuple[str, ...]


def decode_listing(
    listing: Listing,
    options: ImageOptions,
    folder: Path,
    progress: Progress,
    *,
    limit: TimeLimit | None = None,
) -> Decoded:
    """Decode a listing's images into a folder, with all cores.

    Raises:
        DataError: no image, or less than half of them, can be read, the disk is too small, or it
            takes longer than it may.
    """
    count, description = len(listing.rows), dict(listing.reader)
    if description["kind"] == "files":
        description["rows"] = str(folder / ROWS)
        (folder / ROWS).write_text(json.dumps(listing.rows), encoding="utf-8")
    write_request(folder, description, options, None)
    teller = _Teller("looking at", count, progress, limit)
    with DecodePool(folder) as pool:
        headers, failed = pool.read(count, progress=teller)
        _check_failures(listing, {int(row): said for row, said in failed.items()})
        shape, notes = shape_for([header for header in headers if header is not None], options)
        images, digests, failures = decode_rows(
            pool, description, options, shape, count, progress, limit=limit
        )
    _check_failures(listing, failures)
    return Decoded(images, digests, failures, shape, notes)


def decode_rows(
    pool: DecodePool,
    description: Description,
    options: ImageOptions,
    shape: Shape,
    count: int,
    progress: Progress,
    *,
    limit: TimeLimit | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Failed]:
    """Decode the images of a reader into a file in the pool's folder.

    Returns them, (count, height, width, channels), mapped, the digests of their contents (count,
    bytes), and what could not be read.
    """
    folder = pool.folder
    write_request(folder, description, options, shape)
    images = _allocated(folder / IMAGES, (count, *asdict(shape).values()))
    teller = _Teller("decoding", count, progress, limit)
    told, failures = pool.read(count, progress=teller)
    known = b"".join(bytes.fromhex(each) if each else bytes(DIGEST_BYTES) for each in told)
    digests = np.frombuffer(known, dtype=np.uint8).reshape(count, DIGEST_BYTES)
    found = {int(row): (reason, details) for row, (reason, details) in failures.items()}
    return images, digests, dict(sorted(found.items()))


def shape_for(headers: list[Any], options: ImageOptions) -> tuple[Shape, tuple[str, ...]]:
    """Choose the shape of all images from [height, width, grey] of each; say what is done."""
    sizes = np.array([header[:2] for header in headers], dtype=np.int64)
    grey = sum(bool(header[2]) for header in headers)
    channels = options.channels or (1 if grey == len(headers) else 3)
    notes = []
    if channels == 3 and 0 < grey < len(headers):
        notes.append(f"{grey:,} of {len(headers):,} images are grey, and made coloured")
    if channels == 1 and grey < len(headers):
        notes.append(f"{len(headers) - grey:,} of {len(headers):,} images are coloured, made grey")
    equal = bool((sizes == sizes[0]).all())
    if options.image_size is None and equal and sizes[0].max() <= LARGEST_DEFAULT:
        return Shape(int(sizes[0][0]), int(sizes[0][1]), channels), tuple(notes)
    median = int(np.median(sizes.min(axis=1)))
    size = options.image_size or max(LEAST_SIDE, min(LARGEST_DEFAULT, median))
    if not (equal and (sizes[0] == size).all()):
        low, high = (f"{h}x{w}" for h, w in (sizes.min(axis=0), sizes.max(axis=0)))
        span = f"of {low}" if equal else f"between {low} and {high}"
        notes.append(
            f"images are {span} pixels: short sides are scaled to {size}, "
            f"and middles cut to {size}x{size} (--image-size asks for another size)"
        )
    return Shape(size, size, channels), tuple(notes)


def _check_failures(listing: Listing, failures: Failed) -> None:
    if len(failures) <= UNREADABLE_SHARE * len(listing.rows):
        return
    row, (reason, details) = min(failures.items())
    raise DataError(
        f"at least half of the images must be readable, but {len(failures):,} of "
        f"{len(listing.rows):,} are not; the first, {listing.rows[row]}, is "
        f"{WORDS[reason]}: {details}"  # type: ignore[index]
    )


def _allocated(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Make an array of zeros on the disk, whose space is there for sure."""
    needed = int(np.prod(shape, dtype=np.uint64))
    free = shutil.disk_usage(path.parent).free
    if 2 * needed + SPARE_BYTES > free:  # it may be written once more, in another order
        raise DataError(
            f"the decoded images need {2 * needed / 2**30:.1f} GiB in {path.parent.parent}, but "
            f"{free / 2**30:.1f} GiB are free; ATHANOR_CACHE names another folder"
        )
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


class _Teller:
    """Says how far it is, now and then, and ends it where it takes too long."""

    def __init__(self, doing: str, count: int, progress: Progress, limit: TimeLimit | None) -> None:
        self._doing, self._count, self._progress = doing, count, progress
        self._limit = limit
        self._begin = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        if self._limit is not None:
            self._limit.check(f"{self._doing} images ({done:,} of {self._count:,} so far)")
        now = time.monotonic()
        if now - self._said < SAID_SECONDS or done == 0:
            return
        self._said = now
        pace = done / (now - self._begin)
        self._progress(f"{self._doing} images: {done:,} of {self._count:,}, {pace:,.0f} a second")
