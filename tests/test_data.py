"""Images come in whole and in order, or one line says what is wrong with them."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spaces.errors import DataError
from tests.command import asked, result_of
from tests.refusals import one_line
from workers.data import GIVEN, ImageData, fingerprint, load_data
from workers.derived_test import DERIVED
from workers.npz import read_images

Array = NDArray[Any]

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 6), dtype=np.uint8)
COLOURED = np.random.default_rng(1).integers(0, 256, (40, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
ONES = np.ones((40, 8, 6))


def save(path: Path, **arrays: Array) -> Path:
    np.savez(path, allow_pickle=True, **arrays)
    return path


def load(folder: Path, **arrays: Array) -> ImageData:
    """Write arrays into an `.npz` file and load it."""
    return load_data(str(save(folder / "mine.npz", **arrays)), cache=folder)


def changed(array: Array, position: Any, value: Any) -> Array:
    """Return a copy of `array` with other content at one position."""
    copy = array.copy()
    copy[position] = value
    return copy


# --- data sets by name -----------------------------------------------------------------------


def test_digits_are_bytes_with_a_stratified_test_split(tmp_path: Path) -> None:
    digits = load_data("digits", cache=tmp_path)
    assert digits.train_images.shape == (1258, 8, 8, 1) and digits.test_images.shape[0] == 539
    assert digits.train_images.dtype == np.uint8 and digits.train_labels.dtype == np.int64
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert digits.image_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789") and digits.classes == 10
    assert digits.test_split == DERIVED
    share = np.bincount(digits.test_labels) / np.bincount(digits.train_labels)
    assert np.allclose(share, 3 / 7, atol=0.02)


def test_digits_are_the_same_at_every_load(tmp_path: Path) -> None:
    first, second = (load_data("digits", cache=tmp_path) for _ in range(2))
    assert first.train_fingerprint == second.train_fingerprint
    assert first.test_rows == second.test_rows
    assert first.train_fingerprint != first.test_rows.fingerprint


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("fashion-mnits", "'fashion-mnits'; did you mean 'fashion-mnist'?"),
        ("digit", "'digit'; did you mean 'digits'?"),
        ("zebra", "'zebra'; known: digits, fashion-mnist"),
        ("data.csv", "a table of images, but there is none"),
    ],
)
def test_an_unknown_source_names_the_nearest_known_one(
    source: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as refusal:
        load_data(source, cache=tmp_path)
    assert said in one_line(refusal)


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (IMAGES, IMAGES[..., None]),
        (IMAGES[..., None], IMAGES[..., None]),
        (COLOURED, COLOURED),
        (IMAGES.astype(np.int64), IMAGES[..., None]),
        (IMAGES.astype(np.float32), IMAGES[..., None]),
        (IMAGES / 255, IMAGES[..., None]),
        ((IMAGES / 255).astype(np.float16), IMAGES[..., None]),
        (IMAGES // 255, IMAGES[..., None] // 255),
        (np.asfortranarray(COLOURED), COLOURED),
    ],
    ids=[
        "bytes",
        "one channel",
        "three channels",
        "integers",
        "whole floats",
        "floats in 0..1",
        "half precision in 0..1",
        "bytes that are all 0 or 1",
        "other memory order",
    ],
)
def test_images_of_any_form_become_the_same_bytes(
    given: Array, expected: Array, tmp_path: Path
) -> None:
    data = load(
        tmp_path, images=given, labels=LABELS, test_images=given[:9], test_labels=LABELS[:9]
    )
    assert data.train_images.dtype == data.test_images.dtype == np.uint8
    assert np.array_equal(data.train_images, expected)
    assert np.array_equal(data.test_images, expected[:9])
    assert data.train_fingerprint == fingerprint(expected, LABELS)
    assert data.test_split == GIVEN and data.name == "mine"


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(np.uint8),
        LABELS.astype(np.float64),
        LABELS.astype(np.float16),
        LABELS[:, None],
    ],
    ids=["bytes", "floats", "half precision", "a column"],
)
def test_labels_of_any_form_become_the_same_integers(labels: Array, tmp_path: Path) -> None:
    data = load(
        tmp_path, images=IMAGES, labels=labels, test_images=IMAGES[:4], test_labels=labels[:4]
    )
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert np.array_equal(data.train_labels, LABELS)
    assert data.class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
    ids=["ours", "Keras'"],
)
def test_arrays_are_found_by_either_set_of_names(names: tuple[str, ...], tmp_path: Path) -> None:
    arrays: list[Array] = [IMAGES, LABELS, IMAGES[:8], LABELS[:8]]
    data = load(tmp_path, **dict(zip(names, arrays, strict=True)), unknown=np.zeros(3))
    assert len(data.train_images) == 40 and len(data.test_images) == 8
    assert data.test_split == GIVEN


def test_class_names_allow_classes_without_rows(tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "cat", "dog", "elk"])
    data = load(tmp_path, images=IMAGES, labels=LABELS, class_names=names)
    assert data.class_names == ("ant", "bee", "cat", "dog", "elk") and data.classes == 5
    told = asked("data", "check", tmp_path / "mine.npz", "--json", cwd=tmp_path)
    counts = result_of(told)["training_images_by_class"]
    assert counts == np.bincount(data.train_labels, minlength=5).tolist() and counts[4] == 0


def test_rows_without_a_test_split_are_parted_once_and_for_all(tmp_path: Path) -> None:
    data = load(tmp_path, images=IMAGES, labels=LABELS)
    again = load(tmp_path, images=IMAGES, labels=LABELS)
    assert data.test_split == DERIVED and len(data.test_images) == 12
    assert np.bincount(data.test_labels).tolist() == [3, 3, 3, 3]
    assert data.train_fingerprint == again.train_fingerprint
    parts = np.concatenate([data.train_images, data.test_images])[..., 0]
    assert sorted(image.tobytes() for image in parts) == sorted(i.tobytes() for i in IMAGES)
    rows = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert [rows[image[..., 0].tobytes()] for image in data.test_images] == [*data.test_labels]


def test_a_fingerprint_sees_shape_pixels_and_labels() -> None:
    images = COLOURED
    fingerprints = {
        fingerprint(images, LABELS),
        fingerprint(images.reshape(40, 6, 8, 3), LABELS),
        fingerprint(changed(images, (0, 0, 0, 0), images[0, 0, 0, 0] ^ 1), LABELS),
        fingerprint(images, changed(LABELS, 0, 1)),
    }
    assert len(fingerprints) == 4
    assert fingerprint(np.asfortranarray(images), LABELS.astype(np.int32)) in fingerprints


BAD_ARRAYS: dict[str, tuple[dict[str, Array], str]] = {
    "no labels": (
        {"images": IMAGES},
        "must have images and labels (or targets), but has train_images",
    ),
    "no known name": ({"pictures": IMAGES}, "but has no array of a known name"),
    "empty": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "empty, but have shape (0, 8, 6, 1)"),
    "one class": ({"images": IMAGES, "labels": LABELS * 0 + 7}, "but only 7 occurs"),
    "NaN": (
        {"images": changed(ONES, (5, 1, 1), np.nan), "labels": LABELS},
        "1 values are NaN or infinite, first in row 5",
    ),
    "infinite": (
        {"images": changed(ONES, (9, 0), -np.inf), "labels": LABELS},
        "6 values are NaN or infinite, first in row 9",
    ),
    "above 255": (
        {"images": changed(IMAGES.astype(np.int16) * 0, (1, 2, 3), 300), "labels": LABELS},
        "must lie in 0..255, or be divided to lie in 0..1, but lie in 0..300",
    ),
    "below 0": ({"images": ONES * -0.5, "labels": LABELS}, "but lie in -0.5..-0.5"),
    "fractions above 1": ({"images": ONES * 7.25, "labels": LABELS}, "but reach 7.25"),
    "four channels": ({"images": np.zeros((40, 8, 6, 4)), "labels": LABELS}, "(40, 8, 6, 4)"),
    "two dimensions": ({"images": np.zeros((40, 48)), "labels": LABELS}, "but have (40, 48)"),
    "text for pixels": ({"images": IMAGES.astype(str), "labels": LABELS}, "numbers, but are <U"),
    "complex pixels": ({"images": ONES * 1j, "labels": LABELS}, "numbers, but are complex128"),
    "objects": ({"images": ONES.astype(object), "labels": LABELS}, "plain arrays: Object arrays"),
    "object labels": ({"images": IMAGES, "labels": LABELS.astype(object)}, "Object arrays"),
    "label without a name": (
        {"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b", "c"])},
        "training labels must lie in 0..2 (3 classes), but row 3 has 3",
    ),
    "negative label": (
        {"images": IMAGES, "labels": changed(LABELS, 6, -2)},
        "training labels must be at least 0, but row 6 has -2",
    ),
    "fractional label": ({"images": IMAGES, "labels": LABELS + 0.5}, "must be whole numbers"),
    "NaN label": ({"images": IMAGES, "labels": LABELS * np.nan}, "must be whole numbers"),
    "bytes for labels": ({"images": IMAGES, "labels": LABELS.astype("S2")}, "but are |S2"),
    "label of no name": (
        {"images": IMAGES, "labels": LABELS.astype(str), "class_names": np.array(["0", "1", "2"])},
        "labels must be among the 3 names of classes, but row 3 has '3'",
    ),
    "gap in labels": (
        {"images": IMAGES, "labels": np.where(LABELS == 2, 9, LABELS)},
        "must be 0..3 for 4 classes without class_names, but reach 9 and 2 does not occur",
    ),
    "labels from 1": ({"images": IMAGES, "labels": LABELS + 1}, "reach 4 and 0 does not occur"),
    "mismatched lengths": (
        {"images": IMAGES, "labels": LABELS[:39]},
        "must be one for each of 40 images, but have (39,)",
    ),
    "one-hot labels": ({"images": IMAGES, "labels": np.eye(4)[LABELS]}, "but have (40, 4)"),
    "test images of another shape": (
        {"images": IMAGES, "labels": LABELS, "x_test": IMAGES[:, :7], "y_test": LABELS},
        "shape of training images (8, 6, 1), but have (7, 6, 1)",
    ),
    "test images without labels": (
        {"images": IMAGES, "labels": LABELS, "x_test": IMAGES},
        "must have test labels",
    ),
    "test labels beyond the classes": (
        {"images": IMAGES, "labels": LABELS, "x_test": IMAGES, "y_test": changed(LABELS, 8, 4)},
        "test labels must lie in 0..3 (4 classes), but row 8 has 4",
    ),
    "mismatched test": (
        {"images": IMAGES, "labels": LABELS, "x_test": IMAGES[:5], "y_test": LABELS},
        "test labels must be one for each of 5 images, but have (40,)",
    ),
    "a class of one row": (
        {"images": IMAGES[:5], "labels": np.array([0, 0, 1, 1, 2])},
        "at least 2 rows to be split, but '2' has 1",
    ),
}


@pytest.mark.parametrize(("arrays", "said"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_refused(arrays: dict[str, Array], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load(tmp_path, **arrays)
    assert said in one_line(refusal)


def test_a_label_far_beyond_the_classes_is_refused_without_counting_up_to_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError) as refusal:
        load(tmp_path, images=IMAGES, labels=np.where(LABELS == 3, 10**13, LABELS))
    assert "10000000000000 and 3 does not occur" in one_line(refusal)


def test_a_label_too_large_for_an_integer_is_refused_without_a_warning(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load(tmp_path, images=IMAGES, labels=np.where(LABELS == 3, 1e30, LABELS))
    assert "must be whole numbers" in one_line(refusal)


def test_labels_may_be_names(tmp_path: Path) -> None:
    words = np.array(["cat", "ape", "dog", "bee"])[LABELS]
    data = load(tmp_path, images=IMAGES, labels=words, x_test=IMAGES[:8], y_test=words[:8])
    assert data.class_names == ("ape", "bee", "cat", "dog")
    assert [data.class_names[label] for label in data.train_labels] == words.tolist()
    assert [data.class_names[label] for label in data.test_labels] == words[:8].tolist()
    stated = np.array(["dog", "cat", "bee", "ape", "none"])
    again = load(tmp_path, images=IMAGES, labels=words, class_names=stated)
    assert again.class_names == tuple(stated)


@pytest.mark.parametrize("names", [np.array("abcd"), np.array([["a", "b"], ["c", "d"]] * 2)])
def test_class_names_must_be_a_list_of_names(names: Array, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load(tmp_path, images=IMAGES, labels=LABELS, class_names=names)
    assert str(names.shape) in one_line(refusal)


def cut_off(path: Path) -> None:
    content = save(path, images=IMAGES, labels=LABELS).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def overwritten(path: Path) -> None:
    """Write a file of which one byte of the pixels was altered."""
    content = bytearray(save(path, images=IMAGES, labels=LABELS).read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def overwritten_compressed(path: Path) -> None:
    """Write a compressed file of which two bytes were altered so that it cannot be unpacked."""
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[60:62] = (byte ^ 0xFF for byte in content[60:62])
    path.write_bytes(content)


def without_arrays(path: Path) -> None:
    """Write a zip archive of which the members are no arrays."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", "hello")
        archive.writestr("labels.npy", "world")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "but there is none at"),
        (lambda path: path.mkdir(), "but there is none at"),
        (lambda path: path.write_text("not an archive"), "must be a whole .npz file"),
        (lambda path: path.write_bytes(b""), "must be a whole .npz file"),
        (cut_off, "must be a whole .npz file, but is broken or cut off"),
        (overwritten, "must be a whole .npz file, but is broken or cut off"),
        (overwritten_compressed, "must be a whole .npz file, but is broken or cut off"),
        (without_arrays, "must hold plain arrays"),
    ],
    ids=[
        "missing",
        "a folder",
        "no archive",
        "empty",
        "cut off",
        "altered",
        "altered, compressed",
        "no arrays",
    ],
)
def test_broken_files_are_refused(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.npz"
    make(path)
    with pytest.raises(DataError) as refusal:
        load_data(str(path), cache=tmp_path)
    message = one_line(refusal)
    assert said in message and str(path) in message


def test_a_file_too_large_for_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.npz.MAX_BYTES", 1000)
    with pytest.raises(DataError) as refusal:
        load(tmp_path, images=IMAGES, labels=LABELS)
    assert "at most 1,000 bytes of arrays, but holds" in one_line(refusal)


def test_images_to_predict_are_the_test_images_if_there_are_any(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS, x_test=IMAGES[:3])
    images, labels, _ = read_images(path)
    assert len(images) == 3 and labels is None
    images, labels, _ = read_images(save(path, images=IMAGES / 255, labels=LABELS))
    assert np.array_equal(images[..., 0], IMAGES)
    assert labels is not None and np.array_equal(labels, LABELS)
    with pytest.raises(DataError, match="images or test_images, but has neither"):
        read_images(save(path, labels=LABELS))
