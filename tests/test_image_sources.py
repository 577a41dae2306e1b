"""Every kind of source of images gives its rows, labels and columns, in a fixed order."""

import gzip
import resource
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from search.job_spec import JobSpec
from search.sources import ImageOptions, TorchvisionSource, absolute
from spaces.errors import DataError
from tests.pictures import picture, write, write_classes
from tests.refusals import one_line
from workers.data import ImageData, load_data
from workers.derived_test import DERIVED, GROUPED, LATEST
from workers.splitting import split


def load(source: Path | str, folder: Path, **options: Any) -> ImageData:
    return load_data(str(source), ImageOptions(**options), cache=folder / "cache")


def pixels_of(data: ImageData) -> set[bytes]:
    whole = (*data.train_images, *data.test_images)
    return {image.tobytes() for image in whole}


# --- class folders ---------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "pets", names=("dog", "cat", "ape"))
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / "cat" / ".hidden.png").write_text("nor this")
    (root / "cat" / "more" / "still").mkdir(parents=True)
    (root / "cat" / "09.png").rename(root / "cat" / "more" / "still" / "09.png")
    data = load(root, tmp_path)
    assert data.name == "pets" and data.class_names == ("ape", "cat", "dog")
    assert data.train_images.shape == (21, 12, 12, 3) and data.test_images.shape[0] == 9
    assert data.test_split == DERIVED
    assert np.bincount(data.train_labels).tolist() == [7, 7, 7]
    assert pixels_of(data) == {
        picture(100 * label + row, 12, 12, 3).tobytes() for label in range(3) for row in range(10)
    }
    assert data.decoded is not None
    rows = dict(zip(data.decoded.rows, data.decoded.images, strict=True))
    assert np.array_equal(rows["cat/more/still/09.png"], picture(109, 12, 12, 3))


def test_folders_above_the_classes_part_the_rows(tmp_path: Path) -> None:
    for part, rows in (("train", 8), ("val", 3), ("test", 4)):
        for label in (0, 1):
            for row in range(rows):
                seed = 1000 * len(part) + 100 * label + row
                write(tmp_path / "d" / part / f"c{label}" / f"{row}.png", picture(seed, 12, 12))
    data = load(tmp_path / "d", tmp_path)
    assert data.image_shape == (12, 12, 1) and len(data.test_labels) == 8
    assert len(data.train_labels) == 22 and data.test_split == "given with the data"
    folds = split(JobSpec.parse({"data": "x", "workers": 1}), data).folds.folds
    assert data.decoded is not None
    names = data.decoded.rows
    assert {names[row].split("/")[0] for row in folds[0].validation_rows} == {"val"}
    for fold in folds[1:]:
        assert {names[row].split("/")[0] for row in fold.validation_rows} == {"train"}


def test_what_lies_beside_class_folders_and_what_they_are_called(tmp_path: Path) -> None:
    """A table without paths is none of images; trains are a class where nothing parts the rows."""
    root = write_classes(tmp_path / "d", names=("train", "bus", "car"))
    (root / "weights.csv").write_text("name;weight\ntrain;9000\n")
    (root / "prices.csv").write_text("name,price\ntrain,1\n")
    assert load(root, tmp_path).class_names == ("bus", "car", "train")
    parted = tmp_path / "parted"
    for part, rows in (("Training", 8), ("Testing", 4)):
        write_classes(parted / part, rows=rows)
    data = load(parted, tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (16, 8)


def test_a_table_of_other_columns_is_told_what_it_has_and_needs(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "all.csv").write_text("filename;category\na.png;cat\n")
    with pytest.raises(DataError) as refusal:
        load(tmp_path / "d", tmp_path)
    said = one_line(refusal)
    assert "a column path or file_name and one of label, class, target" in said
    assert "but has 'filename;category'" in said
    for name in ("train", "test"):  # which are no classes
        write_classes(tmp_path / "d" / f"{name}_images", names=("all",))
    (tmp_path / "d" / "all.csv").write_text("image_id,label\na,cat\n")
    with pytest.raises(DataError, match="must have a column path"):
        load(tmp_path / "d", tmp_path)
    write_classes(tmp_path / "train" / "train")
    write_classes(tmp_path / "train" / "more", names=("all",))
    with pytest.raises(DataError, match="beside train must be train, val or test"):
        load(tmp_path / "train", tmp_path)


def test_an_empty_class_folder_is_left_out_and_it_is_said(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "d", names=("ape", "dog"))
    (root / "cat").mkdir()
    data = load(root, tmp_path)
    assert data.class_names == ("ape", "dog") and set(data.train_labels) == {0, 1}
    assert data.decoded is not None
    assert data.decoded.report["notes"] == ["1 classes without an image are left out: 'cat'"]


@pytest.mark.parametrize("others", [("val", "test"), ("test",), ("val",)])
def test_a_class_without_training_images_is_refused(
    others: tuple[str, ...], tmp_path: Path
) -> None:
    write_classes(tmp_path / "d" / "train", names=("ape", "dog"))
    for place, part in enumerate(others):
        for label, name in enumerate(("ape", "cat", "dog")):
            seed = 10_000 * (place + 1) + label
            write(tmp_path / "d" / part / name / "0.png", picture(seed, 12, 12, 3))
    with pytest.raises(DataError) as refusal:
        load(tmp_path / "d", tmp_path)
    assert "each class must have images to learn from, but 'cat'" in one_line(refusal)


def test_a_class_that_only_the_latest_rows_have_is_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "t", names=("ape", "cat", "dog"))
    names = [f"{c}/{n:02d}.png" for c in ("ape", "dog", "cat") for n in range(10)]
    write_table(
        root,
        "path,label,time",
        [f"{name},{name[:3]},{row // 10}" for row, name in enumerate(names)],
    )
    with pytest.raises(DataError) as refusal:
        load(root, tmp_path)
    assert "each class must have images to learn from, but 'cat'" in one_line(refusal)


def test_validation_folders_are_the_test_where_there_is_no_other(tmp_path: Path) -> None:
    write_classes(tmp_path / "d" / "train", rows=6)
    write_classes(tmp_path / "d" / "val", rows=3)
    data = load(tmp_path / "d", tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (12, 6)
    assert "validation rows" in data.test_split


# --- tables ----------------------------------------------------------------------------------


def write_table(root: Path, header: str, lines: list[str]) -> Path:
    (root / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def test_a_table_states_groups_and_a_missing_file_is_left_out(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "t")
    rows = [f"{c}/{n:02d}.png,{c},p{n // 2},x" for c in ("cat", "dog") for n in range(10)]
    write_table(root, "path,label,group,note", [*rows, "cat/99.png,cat,p1,x"])
    data = load(root, tmp_path)
    assert data.class_names == ("cat", "dog") and data.test_split == GROUPED
    assert len(data.train_labels) + len(data.test_labels) == 20
    assert data.columns.groups is not None and data.decoded is not None
    names = data.decoded.rows
    learnt = {name.split("/")[1][:2] for name in names[: len(data.train_labels)]}
    tested = {name.split("/")[1][:2] for name in names[len(data.train_labels) :]}
    assert not {int(n) // 2 for n in learnt} & {int(n) // 2 for n in tested}
    assert data.decoded.report["unreadable"] == {"missing": 1}


def test_a_table_states_times_splits_folds_and_targets(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "t")
    names = [f"{c}/{n:02d}.png" for c in ("cat", "dog") for n in range(10)]
    days = [f"{name},a{row % 2},2024-01-{row + 1:02d}" for row, name in enumerate(names)]
    write_table(root, "file_name,class,time", days)
    timed = load(root, tmp_path)
    assert timed.test_split == LATEST and timed.columns.times is not None
    assert timed.decoded is not None and set(timed.decoded.rows[14:]) == set(names[14:])
    parts = ["test" if row > 15 else "train" for row in range(20)]
    lines = [f"{name},{row * 0.5},{parts[row]},{row % 3}" for row, name in enumerate(names)]
    write_table(root, "path,target,split,fold", lines)
    numbers = load(root / "labels.csv", tmp_path)
    assert numbers.task == "regression" and len(numbers.test_labels) == 4
    assert numbers.columns.folds is not None and set(numbers.columns.folds) == {0, 1, 2}
    assert sorted(numbers.train_labels) == [i * 0.5 for i in range(16)]


def test_rows_without_a_group_are_groups_of_their_own(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "t")
    names = [f"{c}/{n:02d}.png" for c in ("cat", "dog") for n in range(10)]
    rows = [f"{name},{name[:3]},{'p' if row < 3 else ''}" for row, name in enumerate(names)]
    write_table(root, "path,label,group", rows)
    data = load(root, tmp_path)
    groups = data.columns.groups
    assert groups is not None and len(groups) in (13, 14, 15)
    assert len(np.unique(groups)) in (len(groups), len(groups) - 2)  # without the rows of p or with
    cats, dogs = np.bincount(data.test_labels)
    assert cats in (2, 3, 4) and dogs == 3


def test_an_endless_number_as_a_label_is_refused(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "t")
    write_table(root, "path,label", [f"cat/00.png,{'1' * 5000}", "dog/00.png,2"])
    with pytest.raises(DataError) as refusal:
        load(root, tmp_path)
    assert "must have at most 1024 bytes" in one_line(refusal)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    root = write_classes(tmp_path / "t")
    names = [f"{c}/{n:02d}.png" for c in ("cat", "dog") for n in range(10)]
    columns = {"path": names, "label": [name[:3] for name in names], "more": [None] * 20}
    parquet.write_table(pa.table(columns), root / "t.parquet")
    first = load(root / "t.parquet", tmp_path)
    (root / "t.parquet").unlink()
    write_table(root, "path,label", [f"{name},{name[:3]}" for name in names])
    second = load(root, tmp_path)
    assert first.train_fingerprint == second.train_fingerprint


# --- nearly equal images -------------------------------------------------------------------------


def write_glyphs(folder: Path, seed: int, rows: int) -> None:
    """Write images of one scene that differ by some noise."""
    random, scene = np.random.default_rng(seed), picture(seed, 24, 24).astype(int)
    for row in range(rows):
        noise = random.integers(-3, 4, (24, 24))
        write(folder / f"{row:02d}.png", (scene + noise).clip(0, 255).astype(np.uint8))


def test_a_class_of_nearly_equal_images_is_learnt_and_tested(tmp_path: Path) -> None:
    for name, first in (("cat", 100), ("dog", 200)):
        for row in range(20):
            write(tmp_path / "d" / name / f"{row:02d}.png", picture(first + row, 24, 24))
    again = tmp_path / "d" / "dog" / "again.jpg"
    write(again, picture(200, 24, 24), quality=95)
    write_glyphs(tmp_path / "d" / "fixed", 1, 20)
    data = load(tmp_path / "d", tmp_path)
    assert np.bincount(data.train_labels, minlength=3).min() >= 12
    assert np.bincount(data.test_labels, minlength=3).min() >= 4
    assert data.decoded is not None and data.columns.groups is not None
    (note,) = data.decoded.report["notes"]
    assert "nearly equal images of 'fixed' chain" in note
    names = data.decoded.rows[: len(data.train_labels)]
    assert ("dog/again.jpg" in names) == ("dog/00.png" in names)
    assert len(split(JobSpec.parse({"data": "x", "workers": 1}), data).folds.folds) > 2


def test_classes_that_are_all_nearly_equal_can_be_parted(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_glyphs(tmp_path / "d" / f"c{seed}", seed, 10)
    write(tmp_path / "d" / "c1" / "copy.png", np.asarray(Image.open(tmp_path / "d/c1/03.png")))
    data = load(tmp_path / "d", tmp_path)
    assert set(data.train_labels) == set(data.test_labels) == {0, 1}
    assert data.decoded is not None
    names = data.decoded.rows[: len(data.train_labels)]
    assert ("c1/03.png" in names) == ("c1/copy.png" in names)


# --- arrays ----------------------------------------------------------------------------------


def test_npy_files_are_mapped_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    for name, array in (("images", images), ("labels", np.arange(40) % 4)):
        np.save(folder / f"{name}.npy", array)
        np.save(folder / f"test_{name}.npy", array[:8])
    for source in (folder, folder / "images.npy"):
        data = load(source, tmp_path)
        assert np.array_equal(data.train_images[..., 0], images) and len(data.test_labels) == 8
    assert not data.train_images.flags.owndata


def test_mapping_asks_for_no_memory(tmp_path: Path) -> None:
    """The file has a hole of 1 GiB; the limit is on what might be written to."""
    for part in ("", "test_"):
        images = np.lib.format.open_memmap(
            tmp_path / f"{part}images.npy", mode="w+", dtype=np.uint8, shape=(4, 2**14, 2**14)
        )
        np.save(tmp_path / f"{part}labels.npy", np.arange(4) % 2)
        del images
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(
        resource.RLIMIT_DATA, (psutil.Process().memory_info().data + 2**28, before[1])
    )
    try:
        data = load(tmp_path, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert data.train_images.nbytes == 2**30 and not data.train_images.flags.writeable


def test_idx_folders(tmp_path: Path) -> None:
    folder = tmp_path / "idx"
    folder.mkdir()
    for part, rows in (("train", 20), ("t10k", 6)):
        images = np.random.default_rng(rows).integers(0, 256, (rows, 5, 4), dtype=np.uint8)
        head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = bytes(n % 2 for n in range(rows))
        content = b"\0\0\x08\x01" + rows.to_bytes(4, "big") + labels
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    data = load(folder, tmp_path)
    assert data.train_images.shape == (20, 5, 4, 1) and data.test_images.shape[0] == 6
    write_raw_mnist(folder, tmp_path / "root" / "MNIST" / "raw")
    same = load(f"torchvision:MNIST?root={tmp_path / 'root'}", tmp_path)
    assert same.train_fingerprint == data.train_fingerprint
    assert same.test_split == "given with the data" and len(same.test_labels) == 6


def write_raw_mnist(folder: Path, raw: Path) -> None:
    raw.mkdir(parents=True)
    for path in folder.iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        (raw / path.name.removesuffix(".gz")).write_bytes(content)


# --- sizes -----------------------------------------------------------------------------------


def test_mixed_sizes_become_the_median_short_side(tmp_path: Path) -> None:
    for row, (height, width) in enumerate([(20, 40), (20, 30), (50, 20), (90, 80)] * 5):
        write(tmp_path / "m" / f"c{row % 2}" / f"{row}.png", picture(row, height, width))
    data = load(tmp_path / "m", tmp_path)
    assert data.image_shape == (20, 20, 1)
    assert data.decoded is not None and "20x20" in data.decoded.report["notes"][0]
    assert load(tmp_path / "m", tmp_path, image_size=16, channels=3).image_shape == (16, 16, 3)


def test_large_images_become_64_pixels_unless_more_are_asked_for(tmp_path: Path) -> None:
    for row in range(8):
        write(tmp_path / "m" / f"c{row % 2}" / f"{row}.png", picture(row, 100, 100))
    assert load(tmp_path / "m", tmp_path).image_shape == (64, 64, 1)
    assert load(tmp_path / "m", tmp_path, image_size=100).image_shape == (100, 100, 1)


# --- names -----------------------------------------------------------------------------------


def test_relative_sources_are_relative_to_the_job_file(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "job.yaml").write_text("data: pets\ntrials: 1\nimage_size: 32\n")
    spec = JobSpec.read(tmp_path / "job.yaml")
    assert spec.data == str(tmp_path / "pets") and spec.title == "pets"
    assert spec.image_options == ImageOptions(image_size=32)
    assert absolute("hf:x", base=tmp_path) == f"hf:{tmp_path}/x"
    assert absolute("torchvision:MNIST?root=r", base=tmp_path) == (
        f"torchvision:MNIST?root={tmp_path}/r"
    )
    assert absolute("digits", base=tmp_path) == "digits"


@pytest.mark.parametrize("folder", ["a+b", "a%20b", "a&b=c", "a?root=b", "a;b c"])
def test_a_root_is_a_path_and_no_form(folder: str, tmp_path: Path) -> None:
    source = absolute(f"torchvision:MNIST?root={folder}", base=tmp_path)
    parsed = TorchvisionSource.parse(source)
    assert parsed == TorchvisionSource("MNIST", tmp_path / folder) and str(parsed) == source


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("torchvision:MNIZT", "did you mean 'MNIST'?"),
        ("torchvision:MNIST?path=x", "must look like torchvision:NAME"),
        ("torchvision:MNIST?root=/no/such", "must be a folder"),
        ("hf:/no/such", "/no/such is none"),
        ("/no/such", "there is none at /no/such"),
    ],
)
def test_sources_that_are_not_there(source: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load_data(source, cache=tmp_path)
    assert said in one_line(refusal)
