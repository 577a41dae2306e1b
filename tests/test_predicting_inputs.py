"""`athanor predict` takes files, folders and patterns, and skips what it cannot read."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from athanor.inputs import find_files
from benchmarks.bad_inputs import Run, run_here
from search.store import StudyStore
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


def test_the_test_images_of_any_data_set_are_scored(place: Path) -> None:
    digits = load_data("digits", cache=place)
    for row, label in enumerate(digits.train_labels[:200]):
        write(place / "folders" / f"{label}" / f"{row:03d}.png", digits.train_images[row, ..., 0])
    data = load_data(str(place / "folders"), cache=place)
    right = load_model(place / "model").predict(data.test_images).argmax(1) == data.test_labels
    run = predict(place, "--data", "folders", "--out", "folders.csv")
    assert run.status == 0 and f"({right.sum()} of {len(right)}," in run.text
    for arguments, got in ((("--data", "folders", "shots"), "both"), ((), "neither")):
        run = predict(place, *arguments)
        assert run.status == 2 and f"must be inputs or --data, but got {got}" in run.text


def save_table(path: Path, *, names: list[str], scale: int, channels: int) -> int:
    """Save digits for `datasets`, their test images first; return how many these are."""
    datasets = pytest.importorskip("datasets")
    digits = load_data("digits", cache=path)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    parts = {}
    for part, pixels, labels in (
        ("test", digits.test_images[:60], digits.test_labels[:60]),
        ("train", digits.train_images[:60], digits.train_labels[:60]),
    ):
        large = pixels.repeat(scale, 1).repeat(scale, 2).repeat(channels, 3)
        images = [Image.fromarray(each.squeeze()) for each in large]
        numbers = [names.index(str(label)) if str(label) in names else label for label in labels]
        columns = {"image": images, "label": numbers}
        parts[part] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(path))
    return 60


def test_classes_of_a_data_set_are_those_of_the_model_by_their_names(place: Path) -> None:
    names = [str(digit) for digit in reversed(range(10))]
    count = save_table(place / "reversed", names=names, scale=1, channels=1)
    digits = load_data("digits", cache=place)
    predicted = load_model(place / "model").predict(digits.test_images[:count]).argmax(axis=1)
    right = int((predicted == digits.test_labels[:count]).sum())
    run = predict(place, "hf:reversed", "--out", "reversed.csv")
    assert run.status == 0 and f"({right} of {count}," in run.text
    numbers = [names.index(str(label)) for label in digits.test_labels[:count]]
    images = digits.test_images[:count]
    np.savez(place / "named.npz", images=images, labels=numbers, class_names=names)
    run = predict(place, "named.npz", "--out", "named.csv")
    assert run.status == 0 and f"({right} of {count}," in run.text


def test_other_classes_and_sizes_are_predicted_without_an_accuracy(place: Path) -> None:
    """The data set's images would have 16 pixels and three channels if no model were asked."""
    names = [f"digit {digit}" for digit in range(10)]
    count = save_table(place / "foreign", names=names, scale=2, channels=3)
    run = predict(place, "hf:foreign", "--json", "--out", "foreign.json")
    assert run.status == 0 and "accuracy is not told, as the model has other classes" in run.text
    told = json.loads((place / "foreign.json").read_text())
    assert told["rows"] == count and told["accuracy"] is None


def test_test_rows_of_another_model_are_scored_only_on_request(place: Path) -> None:
    data = load_data("digits", cache=place)
    store = StudyStore(f"sqlite:///{place}/others.db", create=True)
    rows = data.test_rows
    store.test.open("another", rows=rows, by="somebody", reason="landing of the search")
    arguments = ("digits", "--store", "others.db", "--json", "--out", "sealed.json")
    assert predict(place, *arguments).status == 0  # the model was tested on these rows
    accuracy = json.loads((place / "sealed.json").read_text())["accuracy"]
    assert accuracy > 0.0 and len(store.test.all(rows)) == 1

    manifest = place / "model" / "model.json"
    text = manifest.read_text()
    described = json.loads(text)
    del described["scores"]["test_opened"]
    manifest.write_text(json.dumps(described))
    try:
        run = predict(place, *arguments)
        assert run.status == 0 and "these are test rows that another has opened" in run.text
        told = json.loads((place / "sealed.json").read_text())
        assert told["accuracy"] is None and len(told["predictions"]) == len(data.test_labels)
        assert len(store.test.all(rows)) == 1

        run = predict(place, *arguments, "--reopen-test")
        assert run.status == 0 and "opened 1 times before" in run.text
        assert json.loads((place / "sealed.json").read_text())["accuracy"] == accuracy

        fresh = StudyStore(f"sqlite:///{place}/fresh.db", create=True)  # nobody has opened any
        first = ("digits", "--store", "fresh.db", "--json", "--out", "first.json")
        run = predict(place, *first)
        assert run.status == 0 and "which nobody has opened" in run.text
        assert json.loads((place / "first.json").read_text())["accuracy"] is None
        assert predict(place, *first, "--reopen-test").status == 0
        assert json.loads((place / "first.json").read_text())["accuracy"] == accuracy
        (opening,) = fresh.test.all(rows)
        assert opening.score == accuracy
        fresh.close()

        (place / "broken.db").write_text("no database")
        run = predict(place, "digits", "--store", "broken.db", "--out", "broken.csv")
        assert run.status == 0 and "the score is not told, as nobody can say" in run.text
        assert not list(place.glob("nothing.db*"))
        run = predict(place, "digits", "--store", "nothing.db", "--out", "told.csv")
        assert run.status == 0 and f"accuracy {accuracy:.4f}" in run.text
        assert not list(place.glob("nothing.db*"))
    finally:
        manifest.write_text(text)
    _, second = store.test.all(rows)
    assert (second.job_id, second.score) == (described["job"], accuracy)
    assert second.reason == "athanor predict" and second.opened_by != "somebody"
    store.close()


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
