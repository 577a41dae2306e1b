"""Sample images that do not fit their model are refused before anything is compared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spaces.errors import ModelFolderError
from workers.samples import SAMPLES, Samples

IMAGES = np.zeros((5, 4, 6, 1), dtype=np.uint8)
LABELS = np.arange(5) % 3
PREDICTIONS = np.full((5, 3), 1 / 3, dtype=np.float32)


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    Samples(IMAGES, LABELS, PREDICTIONS).save(tmp_path)
    read = Samples.load(tmp_path, image_shape=(4, 6, 1), outputs=3)
    assert np.array_equal(read.labels, LABELS) and np.array_equal(read.predictions, PREDICTIONS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"images": IMAGES[:, :3]}, "must hold uint8 images of"),
        ({"images": IMAGES[:0]}, "must hold uint8 images of"),
        ({"labels": LABELS[:4]}, r"must hold labels of \(5,\)"),
        ({"labels": LABELS[:, None]}, r"must hold labels of \(5,\)"),
        ({"labels": LABELS.astype("U1")}, "must hold labels of"),
        (
            {"predictions": PREDICTIONS[:, :2]},
            r"must hold predictions of \(5, 3\), but has float32",
        ),
        ({"predictions": PREDICTIONS[:4]}, "must hold predictions of"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    arrays = {"images": IMAGES, "labels": LABELS, "predictions": PREDICTIONS, **given}
    Samples(**arrays).save(tmp_path)
    with pytest.raises(ModelFolderError, match=said):
        Samples.load(tmp_path, image_shape=(4, 6, 1), outputs=3)


def test_of_large_images_fewer_are_kept() -> None:
    images = np.zeros((10, 1024, 1024, 1), dtype=np.uint8)
    assert len(Samples(images, np.arange(10), PREDICTIONS[[0] * 10]).few().labels) == 2
    small = Samples(np.zeros((100, 4, 6, 1), np.uint8), np.arange(100), PREDICTIONS[[0] * 100])
    assert len(small.few().labels) == 64


def test_broken_or_huge_samples_are_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal() -> str:
        with pytest.raises(ModelFolderError) as refused:
            Samples.load(tmp_path, image_shape=(4, 6, 1), outputs=3)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    (tmp_path / SAMPLES).write_bytes(b"x")
    assert "must hold sample images" in refusal()
    np.savez(tmp_path / SAMPLES, images=IMAGES, labels=LABELS)
    assert "must hold sample images" in refusal()
    Samples(IMAGES, LABELS, PREDICTIONS).save(tmp_path)
    monkeypatch.setattr("workers.samples.MOST_BYTES", 100)
    assert "must hold at most 100 bytes" in refusal()
