"""Fashion-MNIST (arXiv 1708.07747): found or fetched once, verified at every load.

Sources, in this order; each file must have the checksum of its decompressed bytes:

1. the cache, where every other source ends up;
2. the files of Debian's package `dataset-fashion-mnist`, where it is installed;
3. torchvision's download, where its mirror can be reached;
4. the same Debian package, fetched with `apt-get download` and unpacked without root.
"""

import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
from numpy.typing import NDArray

from spaces.errors import DataError
from workers.files import write_atomically
from workers.idx import read_idx

SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CONNECT_SECONDS = 3.0  # to find out whether a mirror can be reached at all
FETCH_SECONDS = 300.0  # for 30 MB, on a slow line
MAX_FILE = 64 * 2**20  # bytes of a decompressed file; the largest has 47 MB

Files = dict[str, bytes]
Source = Callable[[], Files]


def load_fashion_mnist(
    cache: Path, *, progress: Callable[[str], None]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return training images (60000, 28, 28), their labels, test images (10000, 28, 28), labels.

    Raises:
        DataError: no source has the files; the message lists what was tried.
    """
    folder = cache / "fashion-mnist"
    files = _first_whole(folder, progress)
    arrays = [read_idx(files[name], name=name) for name in SHA256]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def _first_whole(folder: Path, progress: Callable[[str], None]) -> Files:
    sources: list[tuple[str, Source]] = [
        (f"cache {folder}", lambda: _read_cache(folder)),
        (f"Debian's files in {DEBIAN_FOLDER}", lambda: _read_gzipped(DEBIAN_FOLDER)),
        ("torchvision's download", lambda: _download(progress)),
        (f"apt-get download {PACKAGE}", lambda: _fetch_package(progress)),
    ]
    failures: list[str] = []
    for number, (name, source) in enumerate(sources):
        try:
            files = source()
        except (DataError, OSError, EOFError, zlib.error, subprocess.SubprocessError) as failure:
            failures.append(f"{name}: {_reason(failure)}")
            continue
        if number:
            _write_cache(folder, files)
        return files
    raise DataError(
        f"Fashion-MNIST was found nowhere ({'; '.join(failures)}); install Debian's {PACKAGE}, "
        f"or put the four files of the data set into {folder}"
    )


def _reason(failure: Exception) -> str:
    if isinstance(failure, FileNotFoundError):
        return f"{failure.filename} is not there"
    return str(failure).strip().replace("\n", " ")


def _checked(name: str, content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DataError(
            f"{name} must have SHA-256 {SHA256[name][:12]}…, but has {digest[:12]}… "
            f"({len(content)} bytes)"
        )
    return content


def _read_cache(folder: Path) -> Files:
    """Read the cache; files that a person put there may be compressed."""
    if not folder.is_dir():
        raise FileNotFoundError(2, "not there", str(folder))
    if not all((folder / name).is_file() for name in SHA256):
        return _read_gzipped(folder)
    return {name: _checked(name, (folder / name).read_bytes()) for name in SHA256}


def _write_cache(folder: Path, files: Files) -> None:
    for name, content in files.items():
        try:
            write_atomically(folder / name, content)
        except OSError:
            return  # the data are at hand; the next load fetches them again


def _read_gzipped(folder: Path) -> Files:
    files: Files = {}
    for name in SHA256:
        with gzip.open(folder / f"{name}.gz") as file:
            content = file.read(MAX_FILE + 1)
        files[name] = _checked(name, content)
    return files


def _download(progress: Callable[[str], None]) -> Files:
    """Let torchvision download, if its mirror answers."""
    from torchvision.datasets import FashionMNIST

    host = urlparse(FashionMNIST.mirrors[0]).hostname or ""
    socket.create_connection((host, 80), timeout=CONNECT_SECONDS).close()
    progress("downloading Fashion-MNIST (30 MB)")
    with tempfile.TemporaryDirectory() as root:
        try:
            FashionMNIST(root, download=True)
        except RuntimeError as failure:
            raise DataError(str(failure)) from None
        return _read_gzipped(Path(root) / "FashionMNIST" / "raw")


def _fetch_package(progress: Callable[[str], None]) -> Files:
    """Fetch Debian's package and unpack it beside, which needs no root."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is not installed")
    progress(f"fetching Debian's {PACKAGE} (30 MB)")
    with tempfile.TemporaryDirectory() as folder:
        _run(["apt-get", "-qq", "download", PACKAGE], folder)
        packages = list(Path(folder).glob("*.deb"))
        if not packages:
            raise DataError("nothing was downloaded")
        _run(["dpkg-deb", "-x", packages[0].name, "unpacked"], folder)
        return _read_gzipped(Path(folder) / "unpacked" / DEBIAN_FOLDER.relative_to("/"))


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(f"{lines[-1]} (are the package lists there? `apt-get update`)")
