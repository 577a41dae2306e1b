"""Fashion-MNIST is the published data set, from whichever source it comes."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import workers.fashion_mnist
from athanor.places import Places
from spaces.errors import DataError
from tests.refusals import one_line
from workers.data import GIVEN, load_data
from workers.fashion_mnist import CLASS_NAMES, SHA256


@pytest.fixture(scope="session")
def filled_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the real Fashion-MNIST, fetched if this machine has none yet."""
    cache = tmp_path_factory.mktemp("cache")
    usual = Places.of(None, None).cache / "fashion-mnist"
    if usual.is_dir():
        shutil.copytree(usual, cache / "fashion-mnist")
    load_data("fashion-mnist", cache=cache)
    return cache


@pytest.fixture(scope="session")
def debian_folder(filled_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as Debian's package installs them."""
    folder = tmp_path_factory.mktemp("debian")
    for name in SHA256:
        content = (filled_cache / "fashion-mnist" / name).read_bytes()
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No source but the cache answers; returns the folder in which Debian's files are missing."""
    missing = tmp_path / "no-such-folder"

    def refuse(name: str) -> Callable[..., None]:
        def source(progress: Callable[[str], None]) -> None:
            raise DataError(f"{name} was\nrefused")

        return source

    monkeypatch.setattr(workers.fashion_mnist, "DEBIAN_FOLDER", missing)
    monkeypatch.setattr(workers.fashion_mnist, "_download", refuse("the mirror"))
    monkeypatch.setattr(workers.fashion_mnist, "_fetch_package", refuse("apt"))
    return missing


def test_fashion_mnist_is_the_published_data_set(filled_cache: Path, offline: Path) -> None:
    data = load_data("fashion-mnist", cache=filled_cache)
    assert data.train_images.shape == (60_000, 28, 28, 1) and data.train_images.dtype == np.uint8
    assert data.test_images.shape == (10_000, 28, 28, 1) and data.image_shape == (28, 28, 1)
    assert data.train_labels[:8].tolist() == [9, 0, 0, 3, 0, 2, 7, 2]
    assert data.test_labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    assert np.bincount(data.train_labels).tolist() == [6000] * 10
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    assert data.class_names == CLASS_NAMES and data.class_names[9] == "Ankle boot"
    assert data.test_split == GIVEN and data.name == "fashion-mnist"
    again = load_data("fashion-mnist", cache=filled_cache)
    assert again.train_fingerprint == data.train_fingerprint
    assert again.test_rows == data.test_rows


def test_a_damaged_cache_is_rebuilt_from_the_next_source(
    filled_cache: Path, debian_folder: Path, offline: Path, tmp_path: Path
) -> None:
    shutil.copytree(filled_cache, tmp_path, dirs_exist_ok=True)
    damaged = tmp_path / "fashion-mnist" / "train-images-idx3-ubyte"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    offline.symlink_to(debian_folder)
    data = load_data("fashion-mnist", cache=tmp_path)
    assert data.train_labels[:4].tolist() == [9, 0, 0, 3]
    assert damaged.read_bytes() == whole


def test_the_cache_may_hold_the_files_compressed(
    debian_folder: Path, offline: Path, tmp_path: Path
) -> None:
    (tmp_path / "fashion-mnist").symlink_to(debian_folder)
    assert len(load_data("fashion-mnist", cache=tmp_path).train_labels) == 60_000


def test_data_found_nowhere_are_missed_in_every_source_by_name(
    offline: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "fashion-mnist" / "train-images-idx3-ubyte"
    damaged.parent.mkdir()
    for name in SHA256:
        (damaged.parent / name).write_bytes(b"damaged")
    with pytest.raises(DataError) as refusal:
        load_data("fashion-mnist", cache=tmp_path)
    message = one_line(refusal)
    assert f"cache {damaged.parent}: train-images-idx3-ubyte must have SHA-256" in message
    assert f"Debian's files in {offline}: {offline}/train-images-idx3-ubyte.gz is not" in message
    assert "torchvision's download: the mirror was refused" in message
    assert "apt-get download dataset-fashion-mnist: apt was refused" in message
    assert damaged.read_bytes() == b"damaged"
