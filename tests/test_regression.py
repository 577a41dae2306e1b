"""Numbers are predicted as classes are: through trials, folds, ensemble, model folder, command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from search.folds import strata, stratified_folds
from search.job_spec import JobSpec
from search.metrics import METRICS, MetricName
from search.predictions import OutOfFoldPredictions
from search.regression import for_regression
from search.selection import greedy_selection
from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.errors import DataError
from spaces.recipe import Candidate, Recipe, RegressionLoss
from spaces.recipe_space import RecipeSpace
from tests.command import athanor, result_of
from tests.small_job import CACHE, worked
from workers.baselines import measure_baseline
from workers.data import ImageData, load_data
from workers.device import DevicePlan
from workers.model_folder import load_model
from workers.rows import Rows
from workers.targets import TargetScale, as_answers
from workers.training import Training

SIDE = 12
MEAN, SPREAD = 500_000.0, 300.0  # far from what a network gives by itself, in float32 as well


def blobs(rows: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return images of a bright spot each, and its size as a number."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(0.8, 3.0, rows)
    places = np.arange(SIDE) - (SIDE - 1) / 2
    squares = places[:, None] ** 2 + places**2
    bright = 220.0 * np.exp(-squares / (2.0 * sizes[:, None, None] ** 2))
    images = (bright + random.normal(0.0, 8.0, bright.shape)).clip(0, 255).astype(np.uint8)
    return images[..., None], MEAN + SPREAD * (sizes - 1.9)


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    images, targets = blobs(900, seed=0)
    np.savez(tmp_path / "blobs.npz", images=images, targets=targets)
    return tmp_path / "blobs.npz"


def of(path: Path) -> ImageData:
    return load_data(str(path), cache=CACHE)


def test_targets_make_it_a_regression(data_file: Path) -> None:
    data = of(data_file)
    assert (data.task, data.classes, data.class_names) == ("regression", 1, ())
    assert data.train_labels.dtype == np.float64 and len(data.test_labels) == 270
    # the derived test set has small, middling and large numbers alike
    assert abs(np.median(data.test_labels) - np.median(data.train_labels)) < 0.1 * SPREAD
    changed = np.load(data_file)
    np.savez(data_file, images=changed["images"], targets=changed["targets"] + 1e-9 * MEAN)
    assert of(data_file).train_fingerprint != data.train_fingerprint


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"targets": np.zeros(5)}, "at least 2 values, but all are 0.0"),
        ({"targets": np.arange(4.0)}, "one for each of 5 images"),
        ({"targets": np.array([1.0, 2, np.nan, 4, 5])}, "below 1e+30, but row 2 has nan"),
        ({"targets": np.array(list("abcde"))}, "must be numbers, but are <U1"),
        ({"targets": np.arange(5.0), "labels": np.arange(5)}, "labels or targets, but has both"),
        ({}, "images and labels (or targets), but has"),
    ],
)
def test_targets_that_are_none_are_refused(
    tmp_path: Path, arrays: dict[str, Any], rule: str
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, images=blobs(5, seed=0)[0], **arrays)
    with pytest.raises(DataError) as refusal:
        of(path)
    assert rule in str(refusal.value)


def test_folds_have_small_and_large_numbers_alike() -> None:
    targets = np.sort(np.random.default_rng(0).lognormal(0.0, 2.0, 400))
    kinds = strata(targets)
    assert kinds.max() == 9 and np.bincount(kinds).min() >= 39
    folds = stratified_folds(kinds, k=4, seed=0, data_fingerprint="").folds
    medians = [np.median(targets[fold.validation_rows]) for fold in folds]
    assert max(medians) < 1.3 * min(medians)
    assert strata(targets[:30]).max() == 0  # too few for ranges
    lonely = np.concatenate([np.zeros(950), [-1.0], np.random.default_rng(0).random(49)])
    assert np.bincount(strata(lonely)).min() >= 10
    assert len(np.unique(strata(np.repeat([0.0, 1.0], 100)))) == 2


@pytest.mark.parametrize("name", ["rmse", "mae", "r2"])
def test_metrics_of_numbers_are_those_of_scikit_learn(name: MetricName) -> None:
    from sklearn import metrics as theirs

    random = np.random.default_rng(0)
    targets, predictions = random.normal(5.0, 2.0, 50), random.normal(5.0, 2.0, (50, 1))
    known = {
        "rmse": -theirs.root_mean_squared_error(targets, predictions),
        "mae": -theirs.mean_absolute_error(targets, predictions),
        "r2": theirs.r2_score(targets, predictions),
    }
    assert METRICS[name].score(targets, predictions) == pytest.approx(known[name])


@pytest.mark.parametrize("loss", ["squared", "l1", "huber"])
@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_a_network_learns_numbers_of_any_size(loss: RegressionLoss, mixup: float) -> None:
    images, targets = blobs(600, seed=1)
    rows = Rows(images[:400], targets[:400], images[400:], targets[400:], classes=1)
    candidate = Candidate(
        architecture=Architecture(
            stem=Stem(width=8),
            stages=(Stage(block="plain", depth=1, width=16),),
            head=Head(),
        ),
        recipe=Recipe(
            regression_loss=loss,
            mixup=mixup,
            augmentation="flip",
            batch_size=32,
            epochs=12,
            sampling="balanced",
            class_weights="balanced",
            skip=0.5,
        ),
    )
    training = Training(candidate, rows, plan=DevicePlan(), seed=0, metric=METRICS["r2"])
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    last = training.curve[-1]
    assert last.validation_score is not None and last.validation_score > 0.7
    assert (last.train_accuracy, last.validation_accuracy) == (None, None)
    assert last.validation_loss is not None and last.validation_loss < 0.3
    predicted = training.predict(images[400:], DevicePlan())
    assert predicted.shape == (200, 1)
    assert METRICS["r2"].score(targets[400:], predicted) == pytest.approx(last.validation_score)


def test_losses_differ_in_what_an_outlier_counts() -> None:
    from workers.stepping import REGRESSION_LOSSES

    outputs, targets = torch.tensor([0.0, 0.0]), torch.tensor([0.5, 10.0])
    found = {
        name: loss(outputs, targets, reduction="none") for name, loss in REGRESSION_LOSSES.items()
    }
    assert found["squared"].tolist() == [0.25, 100.0]
    assert found["l1"].tolist() == [0.5, 10.0]
    assert found["huber"].tolist() == [0.125, 9.5]


def test_numbers_have_one_column_and_must_be_finite() -> None:
    targets = np.arange(4.0)
    empty = OutOfFoldPredictions.empty(targets, 1)
    assert empty.of_numbers and not empty.covered.any()
    half = empty.with_fold(np.array([0, 2]), np.array([[-7.0], [9e9 + 0.25]]))
    assert half.probabilities[2, 0] == 9e9 + 0.25
    assert half.score(METRICS["mae"]) == pytest.approx(-(7.0 + 9e9 + 0.25 - 2.0) / 2, rel=1e-12)
    with pytest.raises(ValueError, match="finite, but got 1 that are not"):
        empty.with_fold(np.array([1]), np.array([[np.inf]], dtype=np.float32))
    with pytest.raises(ValueError, match="in 1 column, but got 3"):
        OutOfFoldPredictions.empty(targets, 3)


@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e9])
def test_an_ensemble_of_numbers_is_better_than_its_members(unit: float) -> None:
    random = np.random.default_rng(0)
    targets = unit * random.normal(0.0, 3.0, 300)
    predictions = {}
    for name in "abc":
        drawn = (targets + unit * random.normal(0.0, 1.0, 300))[:, None]
        empty = OutOfFoldPredictions.empty(targets, 1)
        predictions[name] = empty.with_fold(np.arange(300), drawn)
    metric = METRICS["rmse"]
    made = greedy_selection(predictions=predictions, metric=metric, seed=0)
    assert made.members == ("a", "b", "c")
    best = max(each.score(metric) for each in predictions.values())
    assert made.score > 0.75 * best  # both are below zero
    mean = made.combine({name: each.probabilities for name, each in predictions.items()})
    assert metric.score(targets, mean) == pytest.approx(made.score, rel=1e-6)


def test_a_space_for_numbers_moves_no_image_unless_it_is_stated() -> None:
    found, note = for_regression(RecipeSpace())
    assert found.augmentations == ("flip", "none") and found.label_smoothing == (0.0, 0.0)
    assert set(found.regression_losses) == {"huber", "squared", "l1"} and "not moved" in note
    stated = RecipeSpace(augmentations=("shift",), regression_losses=("l1",))
    found, _ = for_regression(stated)
    assert (found.augmentations, found.regression_losses) == (("shift",), ("l1",))


def test_numbers_are_standardised_and_given_back() -> None:
    numbers = np.array([1000.0, 1010.0, 1020.0])
    scale = TargetScale.of(numbers)
    assert scale is not None and scale.mean == 1010.0
    assert scale.standardised(numbers).tolist() == pytest.approx([-1.2247, 0.0, 1.2247], abs=1e-3)
    assert TargetScale.of(np.array([0, 1])) is None
    assert TargetScale.of(np.array([3.0, 3.0])) == TargetScale(mean=3.0, std=1.0)


def test_large_numbers_lose_nothing_of_what_was_learnt() -> None:
    outputs = torch.tensor([[0.25], [0.5], [-1.0]])
    said = as_answers(outputs, TargetScale(mean=1e9, std=1.0)).numpy()[:, 0]
    assert said.tolist() == [1e9 + 0.25, 1e9 + 0.5, 1e9 - 1.0]


@pytest.mark.parametrize("name", ["linear", "MLP", "SVM"])
def test_baselines_predict_numbers(name: Any) -> None:
    images, targets = blobs(500, seed=2)
    rows = Rows(images[:400], targets[:400], images[400:], targets[400:], classes=1)
    found = measure_baseline(name, rows, seed=0, metric=METRICS["r2"])
    assert found.score is not None and found.score > 0.5, found.note


def test_a_job_predicts_numbers_in_their_units(data_file: Path, tmp_path: Path) -> None:
    job, folds = worked(
        tmp_path, data=str(data_file), trials=2, search_epochs=6, search_rows=300, baselines=True
    )
    assert job.state == "done" and job.result is not None and job.plan is not None, job.error
    assert job.plan.metric == "rmse" and any("numbers" in note for note in job.plan.notes)
    result = job.result
    assert result["metric"] == "rmse" and -SPREAD / 2 < result["out_of_fold_score"] < 0.0
    low, high = result["test_score_interval"]
    assert low <= result["test_score"] <= high < 0.0
    assert "test_accuracy" not in result and "temperature" not in result
    assert all(task.score is not None and task.score < 0.0 for task in folds)
    model = load_model(tmp_path / "artifacts" / job.id / result["model"])
    data = of(data_file)
    predicted = model.predict(data.test_images)
    assert METRICS["rmse"].score(data.test_labels, predicted) == pytest.approx(
        result["test_score"], rel=1e-3
    )


def test_metrics_of_another_kind_are_refused(data_file: Path, tmp_path: Path) -> None:
    job, _ = worked(tmp_path, data=str(data_file), metric="accuracy")
    assert job.error is not None and "must be one of rmse, mae, r2, but got accuracy" in job.error
    job, _ = worked(tmp_path, metric="rmse")
    assert job.error is not None and "but got rmse" in job.error


@pytest.mark.slow
def test_the_command_searches_and_predicts_numbers(data_file: Path, tmp_path: Path) -> None:
    spec = JobSpec.parse({"data": str(data_file), "trials": 1})
    job_file = tmp_path / "job.yaml"
    job_file.write_text(
        "data: blobs.npz\ntrials: 2\nworkers: 1\nfolds: 2\nsearch_rows: 200\nsearch_epochs: 4\n"
        "metric: mae\nspace: {stages: [2, 2], depth: [1, 1], width: [8]}\n"
    )
    assert spec.metric is None
    printed = athanor("search", job_file, "--out", "best", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert "test negative MAE -" in printed.stdout and "accuracy" not in printed.stdout
    told = result_of(athanor("predict", "best", "blobs.npz", "--json", cwd=tmp_path))
    assert told["rows"] == 900 and 0.0 < told["mae"] <= told["rmse"] < SPREAD
    assert set(told["predictions"][0]) == {"image", "value"}
    lines = athanor("predict", "best", "blobs.npz", cwd=tmp_path).stdout.splitlines()
    assert lines[0] == "image,value"
    assert float(lines[1].split(",")[1]) == pytest.approx(told["predictions"][0]["value"], rel=1e-6)
    np.savez(tmp_path / "classes.npz", images=blobs(9, seed=0)[0], labels=np.arange(9) % 3)
    refused = athanor("predict", "best", "classes.npz", cwd=tmp_path)
    assert refused.returncode == 2
    assert "predicts numbers, but the file has labels of classes" in refused.stderr
    manifest = json.loads((tmp_path / "best" / "model.json").read_text())
    assert manifest["class_names"] == [] and manifest["networks"][0]["scale"]["mean"] > 4e5
