"""The inputs of `benchmarks/bad_inputs.py`: how each is made, and what is to be said of it."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Make = Callable[[Path], Sequence[str]]

SIDE, ROWS = 12, 12  # pixels, and images of a class
CHECK = ("data", "check", "data", "--json")


def pixels(seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return an image's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def good(folder: Path) -> Sequence[str]:
    """Write two classes of good images."""
    for label in ("cat", "dog"):
        (folder / "data" / label).mkdir(parents=True)
        for row in range(ROWS):
            seed = row + 100 * (label == "dog")
            image = encoded(Image.fromarray(pixels(seed, SIDE, SIDE, 3)))
            (folder / "data" / label / f"{row}.png").write_bytes(image)
    return CHECK


def one_file(name: str, content: Callable[[], bytes]) -> Make:
    """Return what writes good images and one file more."""

    def make(folder: Path) -> Sequence[str]:
        good(folder)
        (folder / "data" / "cat" / name).write_bytes(content())
        return CHECK

    return make


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    check = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def png(width: int, height: int, *chunks: bytes, body: bytes = b"\0") -> bytes:
    """Return a grey PNG file that claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(body, 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


def _photo() -> Image.Image:
    return Image.fromarray(pixels(7, 40, 50, 3))


def _cut(kind: str) -> bytes:
    whole = encoded(_photo(), kind)
    return whole[: len(whole) // 2]


def _bad_checksum() -> bytes:
    whole = bytearray(encoded(_photo()))
    whole[60] ^= 0xFF
    return bytes(whole)


def _text_bomb() -> bytes:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**27, 9))
    return png(8, 8, text, body=b"\0" * 72)


def _large(mode: str, kind: str = "PNG", **options: object) -> bytes:
    return encoded(Image.new(mode, (5000, 4990)), kind, **options)


def _profile() -> bytes:
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff garbage"
    return encoded(_photo(), "JPEG", exif=exif)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(_photo(), "JPEG", exif=exif)


def _deep() -> bytes:
    return encoded(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 5))


def _palette() -> bytes:
    image = _photo().quantize(16)
    return encoded(image, transparency=bytes(range(16)))


FILES: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("a PNG that is cut off", "bad.png", lambda: _cut("PNG"), "1 of 25 images are broken"),
    ("a JPEG that is cut off", "bad.jpg", lambda: _cut("JPEG"), "1 of 25 images are broken"),
    ("an empty file", "bad.png", bytes, "1 of 25 images are empty"),
    ("text called PNG", "bad.png", lambda: b"no image" * 99, "not allowed, or no image"),
    ("a GIF called PNG", "bad.png", lambda: encoded(_photo(), "GIF"), "not allowed, or no image"),
    ("a TIFF", "bad.tiff", lambda: encoded(_photo(), "TIFF"), "not allowed, or no image"),
    ("a script called JPEG", "bad.jpg", lambda: b"#!/bin/sh\nrm -rf /", "not allowed, or no"),
    ("PostScript called PNG", "bad.png", lambda: b"%!PS-Adobe-3.0 EPSF", "not allowed, or no"),
    ("a PNG of 900 million pixels", "bad.png", lambda: png(30000, 30000), "of too many pixels"),
    ("a PNG of 60 million pixels", "bad.png", lambda: png(10000, 6000), "of too many pixels"),
    ("a PNG of a wrong checksum", "bad.png", _bad_checksum, "images are broken"),
    ("a PNG with text of 128 MiB", "bad.png", _text_bomb, "images are broken"),
    ("a PNG without pixels", "bad.png", lambda: png(40, 40, body=b""), "images are broken"),
    ("a PNG of no width", "bad.png", lambda: png(0, 40), "images are broken|not allowed, or no"),
]

ODD_FILES: list[tuple[str, str, Callable[[], bytes]]] = [
    ("a PNG of 25 million pixels, RGBA", "odd.png", lambda: _large("RGBA")),
    ("a PNG of 25 million pixels, 16 bits", "odd.png", lambda: _large("I;16")),
    ("a PNG of 25 million pixels, palette", "odd.png", lambda: _large("P")),
    ("a JPEG of 25 million pixels", "odd.jpg", lambda: _large("RGB", "JPEG")),
    ("a progressive JPEG, as large", "odd.jpg", lambda: _large("RGB", "JPEG", progressive=True)),
    ("a CMYK JPEG", "odd.jpg", lambda: encoded(_photo().convert("CMYK"), "JPEG")),
    ("a JPEG of broken metadata", "odd.jpg", _profile),
    ("a JPEG that is turned", "odd.jpg", _turned),
    ("grey of 16 bits", "odd.png", _deep),
    ("a palette with transparency", "odd.png", _palette),
    ("one bit a pixel", "odd.png", lambda: encoded(_photo().convert("1"))),
    ("a single pixel", "odd.png", lambda: encoded(Image.new("RGB", (1, 1)))),
    ("a strip of 3 x 9000 pixels", "odd.png", lambda: encoded(Image.new("RGB", (9000, 3)))),
]


def _link(folder: Path) -> Sequence[str]:
    good(folder)
    (folder / "secret.png").write_bytes(encoded(_photo()))
    (folder / "data" / "cat" / "link.png").symlink_to(folder / "secret.png")
    return CHECK


def _folder_link(folder: Path) -> Sequence[str]:
    good(folder)
    (folder / "data" / "etc").symlink_to("/etc")
    return CHECK


def _pipe(folder: Path) -> Sequence[str]:
    good(folder)
    os.mkfifo(folder / "data" / "cat" / "pipe.png")
    return CHECK


def _named(name: bytes) -> Make:
    def make(folder: Path) -> Sequence[str]:
        good(folder)
        path = os.fsencode(folder / "data" / "cat") + b"/" + name
        with open(path, "wb") as file:
            file.write(encoded(_photo()))
        return CHECK

    return make


def _nested(folder: Path) -> Sequence[str]:
    good(folder)
    (folder / "data" / "cat" / "/".join("abcdefghijklmnopqrst")).mkdir(parents=True)
    return CHECK


def _one_class(folder: Path) -> Sequence[str]:
    good(folder)
    (folder / "data" / "cat").rename(folder / "data" / ".cat")
    return CHECK


def _empty(folder: Path) -> Sequence[str]:
    (folder / "data" / "cat").mkdir(parents=True)
    (folder / "data" / "dog").mkdir()
    return CHECK


def _broken(labels: Sequence[str]) -> Make:
    def make(folder: Path) -> Sequence[str]:
        good(folder)
        for label in labels:
            for path in (folder / "data" / label).iterdir():
                path.write_bytes(b"broken")
            (folder / "data" / label / "more.png").write_bytes(b"broken")
        if len(labels) == 1:
            image = encoded(_photo())
            (folder / "data" / "dog" / "more.png").write_bytes(image)
            (folder / "data" / "dog" / "most.png").write_bytes(image)
        return CHECK

    return make


def _stray(folder: Path) -> Sequence[str]:
    good(folder)
    (folder / "data" / "cat").rename(folder / "data" / "train")
    return CHECK


def _table(text: str | bytes) -> Make:
    """Return what writes good images and a table of them."""

    def make(folder: Path) -> Sequence[str]:
        good(folder)
        content = text.encode() if isinstance(text, str) else text
        (folder / "data" / "labels.csv").write_bytes(content)
        return CHECK

    return make


def _rows(*lines: str, header: str = "path,label") -> Make:
    whole = [header, *(f"cat/{n}.png,a" for n in range(6)), *(f"dog/{n}.png,b" for n in range(6))]
    return _table("\n".join([*whole, *lines]) + "\n")


def _third(column: str) -> Make:
    """Return what writes a table of two rows with a third column: its name and its values."""
    name, first, second = column.split(",")
    return _table(f"path,label,{name}\ncat/1.png,a,{first}\ndog/1.png,b,{second}\n")


def _parquet(folder: Path) -> Sequence[str]:
    (folder / "data.parquet").write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    return ("data", "check", "data.parquet")


def _objects(folder: Path) -> Sequence[str]:
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(folder / "data.npz", images=objects, labels=np.zeros(1), allow_pickle=True)
    return ("data", "check", "data.npz")


def _claims_much(folder: Path) -> Sequence[str]:
    """Write an archive in which an array's header claims 10^12 pixels."""
    more = folder / "more.npz"
    with zipfile.ZipFile(more, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        shape = {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**3, 10**3)}
        np.lib.format.write_array_header_1_0(header, shape)
        archive.writestr("images.npy", header.getvalue() + b"\0" * 1000)
        archive.writestr("labels.npy", header.getvalue())
    return ("data", "check", "more.npz")


def _npy(write: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> Sequence[str]:
        (folder / "data").mkdir()
        np.save(folder / "data" / "labels.npy", np.arange(20) % 2)
        write(folder / "data" / "images.npy")
        return CHECK

    return make


def _pickled(path: Path) -> None:
    np.save(path, np.array([{}]), allow_pickle=True)


def _long_claim(path: Path) -> None:
    np.save(path, pixels(0, 20, 8, 8))
    content = path.read_bytes().replace(b"(20, 8, 8)", b"(9999, 8, 8)"[:10].ljust(10))
    path.write_bytes(content[:200])


def _idx(images: bytes, labels: bytes = b"\0\0\x08\x01\0\0\0\x02\0\1") -> Make:
    def make(folder: Path) -> Sequence[str]:
        (folder / "data").mkdir()
        for part in ("train", "t10k"):
            name = folder / "data" / f"{part}-images-idx3-ubyte.gz"
            name.write_bytes(gzip.compress(images, compresslevel=1))
            (folder / "data" / f"{part}-labels-idx1-ubyte").write_bytes(labels)
        return CHECK

    return make


def _options(*more: str) -> Make:
    def make(folder: Path) -> Sequence[str]:
        good(folder)
        return ("data", "check", *more)

    return make


def _job(text: str) -> Make:
    def make(folder: Path) -> Sequence[str]:
        good(folder)
        (folder / "job.yaml").write_text(text)
        return ("submit", "job.yaml")

    return make


ONE_LABEL = b"\0\0\x08\x01\0\0\0\1\0"
IDX = b"\0\0\x08\x03" + struct.pack(">III", 2, 4, 4)

REFUSED: list[tuple[str, Make, str]] = [
    ("an image that links elsewhere", _link, "links must stay inside"),
    ("a class that links to /etc", _folder_link, "links must stay inside"),
    ("a pipe called PNG", _pipe, "must be plain files"),
    ("a name with a line break", _named(b"a\nb.png"), "without control characters"),
    ("a name with an escape code", _named(b"\x1b[2J.png"), "without control characters"),
    ("a name that is not UTF-8", _named(b"\xff\xfe.png"), "must be UTF-8"),
    ("folders 20 deep", _nested, "nested at most 16 deep"),
    ("one class alone", _one_class, "two classes or more"),
    ("class folders without images", _empty, "must hold image files"),
    ("images none of which is readable", _broken(("cat", "dog")), "at least half of the images"),
    ("a class none of which is readable", _broken(("cat",)), "each class must have an image"),
    ("train beside a stray folder", _stray, "must be train, val or test"),
    ("a table with ../ in a path", _rows("../../etc/passwd,a"), "without '..'"),
    ("a table with an absolute path", _rows("/etc/passwd,a"), "must lie below the data's folder"),
    ("a table with a path of 5,000 signs", _rows("a" * 5000 + ",a"), "at most 1024 bytes"),
    ("a table with a NUL in a path", _rows("cat/\0.png,a"), "control characters|line contains NUL"),
    ("a table with a short row", _rows("cat/7.png"), "2 fields in each row"),
    ("a table without labels", _rows(header="path,colour"), "one of label, class, target"),
    ("a table with an image twice", _rows("cat/1.png,a"), "each image once"),
    ("a table that is not UTF-8", _table(b"path,label\n\xff\xfe,a\n"), "CSV file in UTF-8"),
    ("a table with a field of 1 MB", _rows('"' + "a" * 10**6 + '",a'), "must be a CSV file"),
    ("a table with an open quote", _rows('"cat/7.png,a'), "must be a CSV file"),
    ("a table with a label that is empty", _rows("cat/7.png,"), "a label must not be empty"),
    ("a table with a target nan", _rows(header="path,target"), "a target must be a number"),
    ("a table with an odd split", _third("split,hold,train"), "a split must be"),
    ("a table with an odd time", _third("time,soon,1"), "a time must be"),
    ("a table with a header alone", _table("path,label\n"), "must have rows"),
    ("a broken Parquet file", _parquet, "must be a whole Parquet file"),
    ("an .npz with pickled objects", _objects, "must hold plain arrays"),
    ("an .npz that claims 10^12 pixels", _claims_much, "must be a whole|must hold plain arrays"),
    ("an .npy with pickled objects", _npy(_pickled), "must hold a plain array"),
    ("an .npy that is cut off", _npy(_long_claim), "must hold a plain array"),
    ("an .npy of text", _npy(lambda p: p.write_text("no array")), "must hold a plain array"),
    ("IDX of another magic number", _idx(b"\1\2\3\4" + IDX), "IDX magic number"),
    ("IDX that unpacks to 16 MB more", _idx(IDX + bytes(2**24)), "but has more"),
    ("IDX that claims 2^90 bytes", _idx(b"\0\0\x08\x03" + b"\x7f" * 12), "at most 2,147,483,648"),
    ("IDX with a label too few", _idx(IDX + b"\0" * 32, ONE_LABEL), "labels"),
    ("a folder that is not there", _options("nowhere/"), "there is none at"),
    ("a file of another kind", _options("/etc/passwd"), "a data file must be"),
    ("images of 100,000 pixels a side", _options("data", "--image-size", "100000"), "image_size"),
    ("two channels", _options("data", "--channels", "2"), "channels"),
    ("a format that is never read", _options("data", "--format", "eps"), "image_formats"),
    ("a data set that torchvision lacks", _options("torchvision:Nothing"), "torchvision data set"),
    ("a data set that was not saved", _options("hf:data"), "save_to_disk"),
    ("a job of no data", _job("data: ''\n"), "data: "),
    ("a job with a size that is a word", _job("data: data\nimage_size: big\n"), "image_size"),
]
