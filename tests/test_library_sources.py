"""Data sets of torchvision and Hugging Face become training data as their libraries read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.sources import ImageOptions
from tests.pictures import picture, write, write_classes
from workers.data import ImageData, load_data


def load(source: Path | str, folder: Path, **options: Any) -> ImageData:
    return load_data(str(source), ImageOptions(**options), cache=folder / "cache")


def pixels_of(data: ImageData) -> set[bytes]:
    whole = (*data.train_images, *data.test_images)
    return {image.tobytes() for image in whole}


def test_a_torchvision_folder_is_read_as_torchvision_reads_it_and_again_when_it_changes(
    tmp_path: Path,
) -> None:
    root = write_classes(tmp_path / "eurosat" / "2750", names=("Forest", "River"))
    from torchvision.datasets import EuroSAT

    source = f"torchvision:EuroSAT?root={tmp_path}"
    before = load(source, tmp_path)
    assert before.class_names == tuple(EuroSAT(str(tmp_path)).classes)
    assert pixels_of(before) == {np.asarray(image).tobytes() for image, _ in EuroSAT(str(tmp_path))}
    new = picture(999, 12, 12, 3)
    write(root / "River" / "03.png", new)  # deep below the folder
    assert new.tobytes() in pixels_of(load(source, tmp_path)) - pixels_of(before)


def test_each_torchvision_set_has_a_default_folder_of_its_own(tmp_path: Path) -> None:
    write_classes(tmp_path / "torchvision" / "EuroSAT" / "eurosat" / "2750")
    (tmp_path / "torchvision" / "MNIST" / "processed").mkdir(parents=True)
    (tmp_path / "torchvision" / "MNIST" / "processed" / "training.pt").touch()  # of another set
    assert load_data("torchvision:EuroSAT", cache=tmp_path).class_names == ("cat", "dog")


def test_a_torchvision_image_that_is_cut_off_is_left_out(tmp_path: Path) -> None:
    # of this set, torchvision opens images without decoding them
    root = write_classes(tmp_path / "caltech101" / "101_ObjectCategories", names=("ape", "cat"))
    (root / "BACKGROUND_Google").mkdir()
    for path in sorted(root.glob("*/*.png")):
        number = int(path.stem) + 1
        Image.open(path).save(path.with_name(f"image_{number:04d}.jpg"), quality=95)
        path.unlink()
    broken = root / "ape" / "image_0004.jpg"
    broken.write_bytes(broken.read_bytes()[:-60])
    data = load(f"torchvision:Caltech101?root={tmp_path}", tmp_path)
    assert data.decoded is not None and data.decoded.report["unreadable"] == {"broken": 1}


def test_the_class_is_the_first_of_the_numbers_that_qmnist_keeps(tmp_path: Path) -> None:
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, rows in (("train", 20), ("test", 6)):
        images = np.stack([picture(len(part) * 100 + row, 8, 8) for row in range(rows)])
        told = np.arange(rows * 8).reshape(rows, 8) + 7
        told[:, 0] = np.arange(rows) % 2
        for name, array, kind in (
            (f"qmnist-{part}-images-idx3-ubyte", images, 0x08),
            (f"qmnist-{part}-labels-idx2-int", told.astype(">i4"), 0x0C),
        ):
            head = bytes([0, 0, kind, array.ndim])
            head += b"".join(side.to_bytes(4, "big") for side in array.shape)
            (raw / name).write_bytes(head + array.tobytes())
    data = load(f"torchvision:QMNIST?root={tmp_path}", tmp_path)
    assert np.bincount(data.train_labels).tolist() == [10, 10] and len(data.test_labels) == 6
    assert data.class_names[:2] == ("0 - zero", "1 - one")


def test_hugging_face_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"])
    )
    images = [Image.fromarray(picture(seed, 12, 12, 3)) for seed in range(20)]
    table = datasets.Dataset.from_dict(
        {"image": images, "label": [row % 2 for row in range(20)]}, features=features
    )
    parts = datasets.DatasetDict(train=table.select(range(14)), test=table.select(range(14, 20)))
    parts.save_to_disk(str(tmp_path / "saved"))
    data = load(f"hf:{tmp_path / 'saved'}", tmp_path)
    assert data.class_names == ("cat", "dog") and len(data.train_labels) == 14
    assert np.array_equal(data.test_images[0], picture(14, 12, 12, 3))
