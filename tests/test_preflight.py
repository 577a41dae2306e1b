"""`athanor data`: what is wrong with images and labels is counted, shown, and acted upon."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.bad_inputs import run_here
from benchmarks.planted import with_wrong_labels
from search.label_noise import most_doubtful, suspected_labels
from search.predictions import OutOfFoldPredictions
from tests.command import asked, result_of
from tests.pictures import photos, picture, write, write_classes
from tests.small_job import worked
from workers.contact_sheet import write_sheet
from workers.data import load_data
from workers.image_data import ImageData
from workers.preflight import Finding, Preflight


def kinds(findings: tuple[Finding, ...]) -> dict[str, int]:
    return {finding.kind: finding.count for finding in findings}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with train and test: copies, a broken file, a flat one."""
    root, tiles = tmp_path_factory.mktemp("data") / "faulty", iter(photos())
    for part, rows in (("train", 12), ("test", 4)):
        for name in ("cat", "dog"):
            for row in range(rows):
                path = root / part / name / f"{row:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(next(tiles)).save(path)
    train, test = root / "train", root / "test"
    shutil.copy(train / "cat" / "00.png", train / "cat" / "copy.png")
    shutil.copy(train / "cat" / "01.png", train / "dog" / "other label.png")
    shutil.copy(train / "cat" / "02.png", test / "cat" / "leak.png")
    Image.open(train / "dog" / "03.png").save(test / "dog" / "again.jpg", quality=85)
    Image.open(train / "dog" / "04.png").save(train / "dog" / "again.jpg", quality=85)
    (train / "dog" / "broken.png").write_bytes((train / "dog" / "05.png").read_bytes()[:99])
    write(train / "dog" / "flat.png", np.full((56, 56, 3), 9, dtype=np.uint8))
    return root


def test_faults_are_counted_with_what_is_done(faulty: Path, tmp_path: Path) -> None:
    data = load_data(str(faulty), cache=tmp_path)
    preflight = Preflight(data)
    assert kinds(preflight.findings) == {
        "unreadable: broken": 1,
        "exact copies in the test": 1,
        "exact copies of different labels": 1,
        "exact copies": 2,
        "near copies in the test": 1,
        "near copies": 1,
        "constant": 1,
    }
    named = {finding.kind: finding.names for finding in preflight.findings}
    (near,) = named["near copies in the test"]
    assert set(near.split(" = ")) == {"train/dog/03.png", "test/dog/again.jpg"}
    assert data.columns.groups is not None and data.decoded is not None
    place = {name: row for row, name in enumerate(data.decoded.rows)}
    groups = data.columns.groups
    assert groups[place["train/dog/04.png"]] == groups[place["train/dog/again.jpg"]]
    assert groups[place["train/cat/00.png"]] == groups[place["train/cat/copy.png"]]


def test_the_command_tells_shows_and_refuses(faulty: Path, tmp_path: Path) -> None:
    told = result_of(asked("data", "check", faulty, "--json", "--sheet", "s.png", cwd=tmp_path))
    assert told["training_images_by_class"] == [13, 15] and told["test_images"] == 10
    assert {each["kind"] for each in told["findings"]} >= {"constant", "near copies in the test"}
    sheet = Image.open(tmp_path / "s.png")
    assert sheet.height > 500 and len(sheet.convert("L").getcolors() or []) > 50
    refused = asked("data", "check", faulty, "--strict", cwd=tmp_path)
    assert refused.returncode == 2 and "nearly equal" in refused.stdout
    assert refused.stderr.count("error: strict checks allow no findings") == 1
    job = tmp_path / "job.yaml"
    job.write_text(f"data: {faulty}\nstrict_data: true\ntrials: 1\n")
    refused = asked("submit", job, cwd=tmp_path)
    assert refused.returncode == 2 and "strict checks allow no findings" in refused.stderr
    assert not (tmp_path / "athanor-runs" / "athanor.db").exists()
    job.write_text(f"data: {faulty}\ntrials: 1\n")
    taken = asked("submit", job, cwd=tmp_path)
    assert taken.returncode == 0 and "images are broken or cut off: left out" in taken.stderr


def test_good_images_give_no_findings(tmp_path: Path) -> None:
    data = load_data(str(write_classes(tmp_path / "good", rows=20)), cache=tmp_path)
    assert not Preflight(data, near=True).findings


def test_a_sheet_of_nothing_says_so(tmp_path: Path) -> None:
    labels = np.arange(8) % 2
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 1), dtype=np.uint8)
    write_sheet(tmp_path / "s.png", Preflight(arrays(images, labels)), [])
    sheet = np.asarray(Image.open(tmp_path / "s.png").convert("L"))
    assert len(sheet) > 16 and sheet.min() < 128  # some text


def arrays(images: Any, labels: Any, **more: Any) -> ImageData:
    images = np.asarray(images)
    return ImageData(
        name="arrays",
        train_images=images,
        train_labels=np.asarray(labels),
        test_images=images[:0],
        test_labels=np.asarray(labels)[:0],
        class_names=("a", "b"),
        test_split="none",
        **more,
    )


def test_small_classes_and_grey_colours_are_told() -> None:
    images = np.stack([picture(seed, 12, 12) for seed in range(20)])[..., None].repeat(3, 3)
    findings = Preflight(arrays(images, [0] * 17 + [1] * 3)).findings
    assert kinds(findings) == {"small classes": 1, "grey": 1}
    assert "b (3)" in findings[0].said


# --- labels ----------------------------------------------------------------------------------


def test_wrong_labels_stand_first() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(1000) % 5
    wrong, rows = with_wrong_labels(labels, 0.02, classes=5, seed=1)
    assert len(rows) == 20 and (wrong[rows] != labels[rows]).all()
    logits = random.normal(0, 1, (1000, 5)) + 4.0 * np.eye(5)[labels]
    probabilities = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    said = OutOfFoldPredictions.empty(wrong, 5).with_fold(np.arange(900), probabilities[:900])
    covered = rows[rows < 900]
    assert np.isin(most_doubtful(said, len(covered)), covered).mean() > 0.7
    suspected = suspected_labels(said)
    assert np.isin(suspected[:10], covered).all() and suspected.max() < 900
    assert np.isin(covered, suspected).mean() > 0.5
    assert len(suspected_labels(OutOfFoldPredictions.empty(wrong, 5))) == 0


@pytest.mark.slow
def test_labels_are_suspected_by_a_finished_job(tmp_path: Path) -> None:
    digits = load_data("digits", cache=tmp_path)
    images, labels = digits.train_images[:600, ..., 0], digits.train_labels[:600]
    wrong, rows = with_wrong_labels(labels, 0.03, classes=10, seed=2)
    path = tmp_path / "d.npz"
    np.savez(path, images=images, labels=wrong, test_images=images[:50], test_labels=labels[:50])
    job, _ = worked(tmp_path, data=str(path), folds=2, search_epochs=8)
    at = ("--store", str(tmp_path / "athanor.db"), "--artifacts", str(tmp_path / "artifacts"))
    told = run_here(("data", "noise", job.id, "--json", "--sheet", "n.png", *at), tmp_path)
    assert told.status == 0 and (tmp_path / "n.png").is_file()
    found = json.loads(told.text)
    assert found["rows"] > 300
    listed = [each["row"] for each in found["suspected"]]
    assert listed and np.isin(listed[:5], rows).mean() >= 0.6
    first = found["suspected"][0]
    assert first["label"] == str(wrong[first["row"]]) and first["predicted"] != first["label"]
    text = run_here(("data", "noise", job.id, "--top", "3", *at), tmp_path).text
    assert "labels that networks were asked about" in text and first["image"] in text
    refused = run_here(("data", "noise", "nothing", *at), tmp_path)
    assert refused.status == 2 and "no job 'nothing'" in refused.text
