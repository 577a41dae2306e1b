"""A process that decodes images: `python -m workers.decode_worker FOLDER`.

FOLDER holds `request.json`. A line `null` of the input asks to read that, and is answered by
`ready`; any other line asks for rows, from one to another, and is answered by a line that lists
what could not be read, by row. So a decoder that crashes takes no other process along, and nothing
that was handed over is unpickled.
"""

import hashlib
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.sources import ImageOptions
from workers.decoding import Shape, Unreadable
from workers.readers import Description, Reader, open_reader

REQUEST = "request.json"
IMAGES = "images.npy"
READY = "ready\n"
DIGEST_BYTES = 16

Failures = dict[str, tuple[str, str]]  # by row: the reason and its details


def headers(reader: Reader, begin: int, end: int) -> dict[str, Any]:
    """Read the sizes of some rows: a list of [height, width, grey], None where there is none."""
    found: list[list[Any] | None] = []
    failures: Failures = {}
    for row in range(begin, end):
        try:
            found.append(list(asdict(reader.header(row)).values()))
        except Unreadable as failure:
            found.append(None)
            failures[str(row)] = (failure.reason, str(failure))
    return {"headers": found, "failures": failures}


def images(
    reader: Reader, begin: int, end: int, *, shape: Shape, out: NDArray[np.uint8]
) -> dict[str, Any]:
    """Decode some rows into `out` (rows, height, width, channels); black where it fails.

    Returns a digest (hex) of each row's content as well, "" where it fails.
    """
    digests: list[str] = []
    failures: Failures = {}
    for row in range(begin, end):
        digest = ""
        try:
            out[row], content = reader.image(row, shape)
            digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
        except Unreadable as failure:
            failures[str(row)] = (failure.reason, str(failure))
        digests.append(digest)
    return {"digests": digests, "failures": failures}


def write_request(
    folder: Path, description: Description, options: ImageOptions, shape: Shape | None
) -> None:
    """Say what is to be read; without a shape, sizes alone are."""
    request = {
        "reader": description,
        "options": options.to_json(),
        "shape": None if shape is None else asdict(shape),
    }
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")


class Decoder:
    """Answers for the rows of a folder's request, in this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, Any] = {}

    def renew(self) -> None:
        """Read the request; images that are open already, for their sizes, are not opened again."""
        request = json.loads((self._folder / REQUEST).read_text(encoding="utf-8"))
        opened = {key: request[key] for key in ("reader", "options")}
        if opened != self._opened:
            options = ImageOptions.from_json(request["options"])
            self._reader = open_reader(request["reader"], options)
            self._opened = opened
        self._shape = None if request["shape"] is None else Shape(**request["shape"])
        if self._shape is not None:
            self._out = np.load(self._folder / IMAGES, mmap_mode="r+", allow_pickle=False)

    def answer(self, begin: int, end: int) -> dict[str, Any]:
        """Read the rows from `begin` to before `end`."""
        if self._shape is None:
            return headers(self._reader, begin, end)
        return images(self._reader, begin, end, shape=self._shape, out=self._out)


def main() -> None:
    """Answer until the input ends; Ctrl-C is left to whoever asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    decoder = Decoder(Path(sys.argv[1]))
    for line in sys.stdin:
        rows = json.loads(line)
        if rows is None:
            decoder.renew()
            sys.stdout.write(READY)
            sys.stdout.flush()
        else:
            print(json.dumps(decoder.answer(*rows)), flush=True)


if __name__ == "__main__":
    main()
