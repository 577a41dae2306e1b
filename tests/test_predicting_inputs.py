"""`athanor predict` takes files, folders and patterns, and skips what it cannot read."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from athanor.inputs import find_files
from benchmarks.bad_inputs import Run, run_here
from spaces.errors import InputError
from tests.pictures import write
from tests.refusals import one_line
from tests.small_job import worked
from workers.data import load_data
from workers.model_folder import load_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of digits, and digits as files."""
    folder = tmp_path_factory.mktemp("predicting")
    job, _ = worked(folder, folds=1)
    assert job.result is not None
    (folder / "artifacts" / job.id / job.result["model"]).rename(folder / "model")
    images = load_data("digits", cache=folder).test_images
    for row in range(12):
        write(folder / "shots" / f"{row % 2}" / f"{row:02d}.png", images[row, ..., 0])
    (folder / "shots" / "0" / "broken.png").write_bytes(b"broken")
    (folder / "shots" / "notes.txt").write_text("not an image")
    return folder


def predict(place: Path, *arguments: str) -> Run:
    return run_here(("predict", "model", *arguments), place)


def test_a_folder_is_predicted_but_for_what_is_broken(place: Path) -> None:
    run = predict(place, "shots", "--json", "--out", "said.json")
    assert run.status == 0 and "skipped shots/0/broken.png: it must be a PNG or JPEG" in run.text
    told = json.loads((place / "said.json").read_text())
    assert told["rows"] == 12 and [each["image"] for each in told["skipped"]] == [
        "shots/0/broken.png"
    ]
    images = load_data("digits", cache=place).test_images[:12]
    expected = load_model(place / "model").predict(images)
    names = [f"shots/{row % 2}/{row:02d}.png" for row in range(12)]
    said = {each["image"]: each["probabilities"] for each in told["predictions"]}
    assert set(said) == set(names)
    for row, name in enumerate(names):
        assert np.allclose(list(said[name].values()), expected[row], atol=1e-5)


def test_patterns_files_and_the_most_probable_classes(place: Path) -> None:
    run = predict(place, "shots/**/*0.png", "shots/1/01.png", "--top", "2", "--out", "top.csv")
    assert run.status == 0
    rows = list(csv.DictReader(io.StringIO((place / "top.csv").read_text())))
    assert [row["image"] for row in rows] == ["shots/0/00.png", "shots/0/10.png", "shots/1/01.png"]
    assert list(rows[0]) == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    assert all(float(row["probability_1"]) >= float(row["probability_2"]) for row in rows)


def test_a_folder_of_files_and_arrays_are_predicted_alike(place: Path) -> None:
    images = load_data("digits", cache=place).test_images[:12]
    np.savez(place / "few.npz", images=images)
    told = json.loads(predict(place, "few.npz", "--json").text)
    assert told["rows"] == 12 and told["skipped"] == []
    known = predict(place, "digits", "--out", "digits.csv")
    assert known.status == 0 and "accuracy" in known.text


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["shots/0/broken.png"], "shots/0/broken.png cannot be read"),
        (["nothing.png"], "nothing.png cannot be read: there is no such file"),
        (["shots/*.jpg"], "there are none in shots/*.jpg"),
        (["shots/notes.txt"], "inputs must be image files"),
        (["digits", "shots"], "digits must be the only input"),
    ],
)
def test_inputs_without_an_image_are_refused(inputs: list[str], said: str, place: Path) -> None:
    run = predict(place, *inputs)
    assert run.status == 2 and said in run.text and run.text.count("error:") == 1


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refusal:
        find_files([str(tmp_path)])
    assert "must have images" in one_line(refusal)
