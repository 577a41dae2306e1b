"""Data set objects of torchvision and torch drive a search as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Subset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import ToTensor

from athanor.datasets import write_dataset
from search.sources import ImageOptions
from spaces.errors import DataError
from tests.pictures import picture, write_classes
from tests.refusals import one_line
from tests.small_job import worked
from workers.data import load_data


def test_a_torchvision_data_set_is_searched_from_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.selected.STREAMED_FROM", 0)  # as if it were larger than memory
    train = FakeData(60, (3, 12, 12), num_classes=3)
    test = FakeData(30, (3, 12, 12), num_classes=3, random_offset=60)
    folder = write_dataset(tmp_path / "fake", train, test)
    data = load_data(str(folder), cache=tmp_path)
    assert len(data.train_labels) == 60 and len(data.test_labels) == 30
    assert np.array_equal(data.train_images[7], np.asarray(train[7][0]))
    assert data.train_labels.tolist() == [int(label) for _, label in train]
    job, _ = worked(tmp_path, data=str(folder), folds=2, search_rows=30)
    assert job.state == "done" and job.result is not None and job.result["test_rows"] == 30


@pytest.mark.parametrize("transform", [None, ToTensor()])
def test_folders_and_subsets_with_and_without_a_transform(transform: Any, tmp_path: Path) -> None:
    theirs = ImageFolder(str(write_classes(tmp_path / "pets")), transform=transform)
    folder = write_dataset(tmp_path / "all", theirs)
    data = load_data(str(folder), cache=tmp_path)
    assert data.class_names == ("cat", "dog") and len(data.train_labels) == 14
    expected = {picture(100 * c + row, 12, 12, 3).tobytes() for c in (0, 1) for row in range(10)}
    assert {image.tobytes() for image in (*data.train_images, *data.test_images)} == expected
    part = write_dataset(tmp_path / "part", Subset(theirs, [0, 1, 2, 17, 18, 19]))
    assert len(np.load(part / "labels.npy")) == 6
    small = ImageOptions(image_size=8, channels=1)
    write_dataset(part, theirs, options=small, overwrite=True)
    assert np.load(part / "images.npy").shape == (20, 8, 8, 1)


def test_what_is_no_image_or_label_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    good = np.zeros((4, 4), dtype=np.uint8)
    for rows, said in (
        ([(good, 0), (good, "cat")], "label 1 of the train rows"),
        ([(good.astype(np.int64), 0)], "must be PIL's, bytes"),
        ([], "must have images"),
    ):
        with pytest.raises(DataError) as refusal:
            write_dataset(tmp_path / "d", rows)
        assert said in one_line(refusal)
    assert not list(tmp_path.iterdir())
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="must be written to a new folder"):
        write_dataset(tmp_path / "d", [(good, 0)])
