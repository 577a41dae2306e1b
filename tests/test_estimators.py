"""A search as a scikit-learn estimator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator

from athanor import AthanorClassifier, AthanorRegressor, load
from athanor.estimators import _Estimator, _in_unit, _parted
from tests.refusals import one_line
from tests.small_job import SPEC, worked
from workers.files import new_folder
from workers.row_images import RowImages

SMALL: dict[str, Any] = {"budget": None, "trials": 1, "folds": 2, "workers": 1, "random_state": 0}
SPACE = SPEC["space"]
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def test_a_classifier_learns_images_and_leaves_a_folder(tmp_path: Path) -> None:
    digits = load_digits()
    labels = NAMES[digits.target]
    model = AthanorClassifier(**SMALL, space=SPACE, out=tmp_path / "model")
    assert clone(model).get_params()["out"] == tmp_path / "model"
    model.fit(digits.images[:600] / 16.0, labels[:600])
    images = digits.images[600:] / 16.0
    assert list(model.classes_) == sorted(NAMES)
    assert model.score(images, labels[600:]) > 0.8
    probabilities = model.predict_proba(images)
    assert probabilities.shape == (len(images), 10)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(1)], model.predict(images))
    assert 0.8 < model.test_scores_["test_accuracy"] <= 1.0
    np.testing.assert_array_equal(load(tmp_path / "model").predict(images), model.predict(images))
    with pytest.raises(ValueError, match=r"in 0\.\.1, as in the training, but reach 16"):
        model.predict(digits.images)


def test_equal_images_are_set_aside_together() -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 4, 4, 1), dtype=np.uint8)
    twice, labels = np.concatenate([images, images]), np.tile(np.arange(60) % 3, 2)
    learnt, aside = _parted(twice, labels, classes=True)
    assert sorted([*learnt, *aside]) == list(range(120)) and len(aside) == 12
    assert not {bytes(twice[row]) for row in learnt} & {bytes(twice[row]) for row in aside}
    assert (np.bincount(labels[aside]) == 4).all()
    assert [len(part) for part in _parted(images, np.arange(60.0), classes=False)] == [54, 6]


def test_dark_images_are_not_taken_for_bright_ones() -> None:
    """Of numbers in 0..255 some batch may have no more than 1."""
    dark = np.zeros((2, 4, 4))
    dark[0, 0, 0] = 1.0
    assert _in_unit(dark, unit=False).dtype == np.int64
    assert _in_unit(dark, unit=True).dtype == np.float64


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"budget": "3s"}, "^budget: a budget must be at least 20 seconds, but got 3"),
        ({"budget": None, "trials": 1, "space": "resnet81"}, "^space: .* but got 'resnet81'"),
    ],
)
def test_a_wrong_parameter_is_a_value_error(parameters: dict[str, Any], said: str) -> None:
    digits = load_digits()
    with pytest.raises(ValueError, match=said) as refusal:
        AthanorClassifier(**parameters).fit(digits.images[:300], digits.target[:300])
    one_line(refusal)


def test_what_are_no_rows_is_refused_before_a_search() -> None:
    images = np.zeros((6, 8, 8), dtype=np.uint8)
    for X, y, said in (
        (images.astype(float) - 1.0, [0, 1] * 3, r"must lie in 0\.\.255"),
        (images, [0] * 6, "only one class"),
        (images, [0, 1], "a value for each of 6 rows, but has 2"),
        (images, None, "requires y to be passed"),
        (images, [0, 1, 2, 3, 4, 5], "too few rows"),
    ):
        with pytest.raises(ValueError, match=said):
            AthanorClassifier().fit(X, y)
    with pytest.raises(ValueError, match="a value for each of 6 rows, but has 2"):
        AthanorRegressor().fit(images, [0.5, 1.0])


def test_flat_rows_become_images_that_tell_them_apart() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(5.0, 100.0, (50, 70))
    rows[:, 3] = 7.0  # a constant feature
    made = RowImages.of(rows)
    images = made.images(rows)
    assert images.shape == (50, 9, 9, 1) and images.dtype == np.uint8
    flat = images.reshape(50, -1)[:, :70].astype(float)
    for feature in (0, 69):
        assert np.corrcoef(flat[:, feature], rows[:, feature])[0, 1] > 0.999
    assert (flat[:, 3] == flat[0, 3]).all()
    assert not images.reshape(50, -1)[:, 70:].any()
    beyond = made.images(rows * 1000.0)
    assert beyond.min() == 0 and beyond.max() == 255


# The checks that are not passed, and why.
NOT_PASSED: dict[type[_Estimator], dict[str, str]] = {
    AthanorClassifier: {"check_fit2d_1feature": "its ten rows are too few for three folds"},
    AthanorRegressor: {},
}


def search_here(self: _Estimator, folder: Path, out: Path) -> dict[str, Any]:
    """Search in this process: the same job, without the seconds that a command takes to start."""
    job, _ = worked(folder, **self._job(folder))
    if job.state != "done" or job.result is None:
        raise ValueError(job.error)
    model = folder / "artifacts" / job.id / job.result["model"]
    with new_folder(out, replace=True) as staging:
        for file in model.iterdir():
            (staging / file.name).write_bytes(file.read_bytes())
    return job.result


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [AthanorClassifier, AthanorRegressor])
def test_the_checks_of_scikit_learn(
    kind: type[_Estimator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them but for those of the array API, which need a variable before the first import.

    None asks for images: they give flat rows of a few features. No score is asked for on these.
    """
    monkeypatch.setattr(_Estimator, "_search", search_here)
    failed = {}
    for estimator, check in estimator_checks_generator(kind(**SMALL, space=SPACE)):
        name = check.func.__name__
        if name == "check_array_api_input":
            continue
        try:
            check(estimator)
        except Exception as failure:
            failed[name] = str(failure)
    assert set(failed) == set(NOT_PASSED[kind]), failed
