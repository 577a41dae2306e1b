"""The benchmark of the landing notices what it is there to notice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import leaks
from benchmarks.leaks import Searched
from benchmarks.selection import compare, drawn, ours, random_problems, transcript, worse
from benchmarks.soup import soup
from search.folds import Fold, Folds
from search.grouping import image_hashes
from tests.small_job import CACHE, worked
from workers.data import ImageData, load_data
from workers.model_folder import load_model


@pytest.mark.parametrize("number", range(4))  # one of each metric
def test_our_selection_is_that_of_the_transcript(number: int) -> None:
    problem = random_problems(4)[number]
    weights, seconds = ours(problem)
    assert seconds > 0.0 and weights.sum() == pytest.approx(1.0)
    assert weights == pytest.approx(transcript(problem))


def test_a_worse_selection_is_counted() -> None:
    problem = drawn("one", "accuracy", models=4, rows=200, classes=3, seed=0)
    (row,) = compare([problem], rival=False)
    assert row["over_best_single"] >= 0.0 and worse([row]) == 0
    assert worse([{**row, "over_transcript": -0.005}, {**row, "over_autogluon": -0.001}, row]) == 2


def test_what_is_beyond_chance_is_a_leak() -> None:
    assert not leaks.above_chance(0.115, chance=0.1, independent=1000)
    assert leaks.above_chance(0.15, chance=0.1, independent=1000)
    assert not leaks.above_chance(0.15, chance=0.1, independent=30)


def test_a_fifth_of_the_shuffled_digits_is_there_twice(tmp_path: Path) -> None:
    leaks.plant_shuffled(tmp_path / "data.npz")
    arrays = np.load(tmp_path / "data.npz")
    hashes = image_hashes(arrays["images"][..., None])
    assert len(hashes) - len(set(hashes)) >= 359
    data = load_data(str(tmp_path / "data.npz"), cache=tmp_path)
    assert not set(image_hashes(data.train_images)) & set(image_hashes(data.test_images))


def test_groups_tell_their_label_and_nothing_else_does(tmp_path: Path) -> None:
    leaks.plant_groups(tmp_path / "data.npz", told=True)
    arrays = np.load(tmp_path / "data.npz")
    groups, labels, images = arrays["groups"], arrays["labels"], arrays["images"]
    assert all(len(set(labels[groups == group])) == 1 for group in range(leaks.GROUPS))
    first, second = images[groups == 0].astype(float)[:2]
    other = images[groups == 1].astype(float)[0]
    assert np.abs(first - second).mean() < 0.5 * np.abs(first - other).mean()


class Leaky(Searched):
    """A search that parted its rows without looking, and learnt what it should not know."""

    def data(self) -> ImageData:
        return load_data(str(self.folder / "data.npz"), cache=self.folder)

    def folds(self) -> Folds:
        rows = np.arange(len(self.data().train_labels))
        parts = [Fold(n, rows[rows % 2 != n], rows[rows % 2 == n]) for n in range(2)]
        return Folds(folds=tuple(parts), seed=0, data_fingerprint="")


def test_leaks_are_seen(tmp_path: Path) -> None:
    result: dict[str, Any] = {
        "out_of_fold_accuracy": 0.6,
        "out_of_fold_rows": 500,
        "test_accuracy": 0.6,
        "test_rows": 500,
    }
    leaks.plant_groups(tmp_path / "data.npz", told=True)
    leaky = Leaky({"result": result, "budget": 20.0}, tmp_path, 32.0)
    assert leaky.over == 12.0
    assert set(leaks.group_leaks(leaky).values()) == {True}
    assert not leaks.untold_groups_leak(leaky)
    leaks.plant_shuffled(tmp_path / "data.npz")
    found = leaks.shuffled_leaks(leaky)
    assert found.pop("copies of training images in the test") is False  # the loader parts them
    assert set(found.values()) == {True}


@pytest.mark.parametrize(
    ("accuracy", "lower", "held"),
    [(0.90, False, True), (0.99, False, False), (0.99, True, True), (0.80, True, False)],
)
def test_an_interval_holds_the_score_or_lies_below_it(
    tmp_path: Path, accuracy: float, lower: bool, held: bool
) -> None:
    expected = {"interval": [0.86, 0.94], "score": 0.9, "lower": lower}
    result = {"expected": expected, "test_accuracy": accuracy, "test_rows": 400}
    found = leaks.held(Searched({"result": result}, tmp_path, 20.0))
    assert found["held"] is held and found["above"] is (accuracy > 0.94)
    binomial = 2 * 1.96 * np.sqrt(0.9 * 0.1 / 400)
    assert found["width"] == pytest.approx(0.08 / binomial)


def test_a_soup_of_one_network_is_that_network_with_norms_measured_again(tmp_path: Path) -> None:
    job, _ = worked(tmp_path, folds=1, search_epochs=3)
    assert job.result is not None
    folder = tmp_path / "artifacts" / job.id / job.result["model"]
    data = load_data("digits", cache=CACHE)
    said = soup(folder, data.train_images, data.train_images)
    alone = load_model(folder).predict(data.train_images)
    assert (said.argmax(1) == alone.argmax(1)).mean() > 0.8
