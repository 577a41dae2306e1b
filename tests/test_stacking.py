"""Stacks are fitted as the rule says, and used only if they are better on rows unseen."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search.combining import Combining, compare_stack
from search.metrics import METRICS
from search.predictions import OutOfFoldPredictions, mean_log_loss
from search.stacking import Stack, clearly_better, fitted_stack
from spaces.errors import ModelFolderError
from tests.small_job import worked
from workers.data import load_data
from workers.model_folder import load_model, read_manifest

ROWS, CLASSES, FOLDS = 900, 4, 3
PARTS = list(np.arange(ROWS).reshape(FOLDS, -1))
LOG_LOSS = Combining(seed=0, metric=METRICS["log_loss"])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    found: NDArray[np.float32] = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    return found


def of_all_rows(targets: NDArray[Any], said: NDArray[Any]) -> OutOfFoldPredictions:
    empty = OutOfFoldPredictions.empty(targets, said.shape[1])
    return empty.with_fold(np.arange(len(targets)), said)


def models(
    seed: int,
    *,
    sharpness: tuple[float, ...],
    tilt: tuple[float, ...] = (0.0,) * CLASSES,
    own: float = 1.0,
) -> dict[str, OutOfFoldPredictions]:
    """Return equally good models, too sure by `sharpness`, off by `tilt`.

    Where `own` is small, their evidence is nearly the same.
    """
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, ROWS)
    shared = (1.0 - own) * rng.normal(size=(ROWS, CLASSES)) + np.eye(CLASSES)[targets]
    found = {}
    for number, factor in enumerate(sharpness):
        evidence = shared + own * rng.normal(size=(ROWS, CLASSES))
        logits = factor * evidence - np.array(tilt)
        found[f"m{number}"] = of_all_rows(targets, softmax(logits))
    return found


def test_weights_and_biases_are_those_of_the_best_pool() -> None:
    """With normal evidence around the true class the right logits are the evidence itself."""
    tilt = (0.9, -0.3, -0.3, -0.3)
    found = models(3, sharpness=(0.5, 2.0), tilt=tilt)
    stack = fitted_stack(found, ["m1", "m0"], seed=0)
    assert stack.members == ("m0", "m1")
    assert stack.weights == pytest.approx((1 / 0.5, 1 / 2.0), abs=0.35)  # drawn to 1 / 2
    right = np.array(tilt) * (1 / 0.5 + 1 / 2.0)
    assert stack.biases == pytest.approx(tuple(right), abs=0.8)
    assert sum(stack.biases) == pytest.approx(0.0, abs=1e-9)
    targets = found["m0"].targets
    said = {name: each.probabilities for name, each in found.items()}
    combined = stack.combine(said)
    assert np.allclose(combined.sum(1), 1.0, atol=1e-6) and combined.dtype == np.float32
    assert mean_log_loss(combined, targets) < min(each.log_loss() for each in found.values())


def test_few_rows_change_little() -> None:
    whole = models(3, sharpness=(0.5, 2.0))
    few = {
        name: OutOfFoldPredictions.empty(each.targets, CLASSES).with_fold(
            np.arange(6), each.probabilities[:6]
        )
        for name, each in whole.items()
    }
    stack = fitted_stack(few, list(few), seed=0)
    assert stack.weights == pytest.approx((0.5, 0.5), abs=0.25)
    assert stack.biases == pytest.approx((0.0,) * CLASSES, abs=0.25)


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_numbers_are_combined_in_any_unit(unit: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=ROWS)
    targets = unit * (10.0 + truth)
    numbers = [truth + 0.1 * rng.normal(size=ROWS), 0.5 * truth + rng.normal(size=ROWS)]
    said = {f"m{n}": of_all_rows(targets, (unit * each)[:, None]) for n, each in enumerate(numbers)}
    stack = fitted_stack(said, list(said), seed=0)
    assert stack.weights == pytest.approx((1.0, 0.0), abs=0.05)
    assert stack.biases == pytest.approx((10.0 * unit,), rel=0.02)
    combined = stack.combine({name: each.probabilities for name, each in said.items()})
    assert METRICS["rmse"].score(targets, combined) > -0.11 * unit
    found = compare_stack(said, PARTS, Combining(seed=0, metric=METRICS["rmse"]))
    assert found is None or found.used  # the mean may be of one model alone


def test_a_stack_is_used_where_it_is_clearly_better() -> None:
    found = compare_stack(models(1, sharpness=(0.5, 2.0)), PARTS, LOG_LOSS)
    assert found is not None and found.used and found.score > found.mean_score


def test_a_stack_of_equal_models_is_hardly_ever_used() -> None:
    accuracy = replace(LOG_LOSS, metric=METRICS["accuracy"])
    alike = [models(seed, sharpness=(1.0,) * 3, own=0.3) for seed in range(20)]
    found = [compare_stack(each, PARTS, accuracy) for each in alike]
    compared = [one for one in found if one is not None]
    assert len(compared) >= 15 and sum(one.used for one in compared) <= 1


def test_copies_of_rows_that_are_a_group_make_no_stack_clearer() -> None:
    used = {False: 0, True: 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        targets = np.repeat(rng.integers(0, 3, 60), 9)
        one, other = (np.repeat(softmax(rng.normal(size=(60, 3))), 9, axis=0) for _ in range(2))
        for grouped in used:
            groups = np.repeat(np.arange(60), 9) if grouped else None
            metric = METRICS["log_loss"]
            used[grouped] += clearly_better(
                metric, targets, stacked=one, mean=other, seed=seed, groups=groups
            )
    assert used[False] >= 3 and used[True] <= 1


def test_nothing_is_compared_where_nothing_is_left_to_judge_it() -> None:
    several, alone = models(0, sharpness=(1.0, 1.0)), models(0, sharpness=(1.0,))
    assert compare_stack(alone, PARTS, LOG_LOSS) is None
    assert compare_stack(several, PARTS[:1], LOG_LOSS) is None


def test_no_row_is_judged_by_a_stack_that_was_fitted_to_it() -> None:
    """Labels by chance: a stack fitted to them all would do better than one class in four."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, CLASSES, 60)
    said = {
        f"m{n}": of_all_rows(targets, softmax(0.3 * rng.normal(size=(60, CLASSES))))
        for n in range(8)
    }
    stack = fitted_stack(said, list(said), seed=0)
    fitted = stack.combine({name: each.probabilities for name, each in said.items()})
    combining = replace(LOG_LOSS, stacked=True)
    unseen = combining.cross_fitted(said, list(np.arange(60).reshape(3, 20)))
    honest = mean_log_loss(unseen.probabilities, unseen.targets)
    assert mean_log_loss(fitted, targets) < np.log(CLASSES) < honest


def test_a_model_folder_predicts_by_its_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.stacking.CLEARLY", -1000.0)  # whatever it gains
    job, _ = worked(tmp_path, trials=4, finalists=3)
    assert job.result is not None and job.result["stacking"]["used"]
    folder = tmp_path / "artifacts" / job.id / job.result["model"]
    model = load_model(folder)
    stack = model.manifest.stack
    assert stack is not None and len(stack.members) > 1
    data = load_data("digits", cache=tmp_path)
    each: dict[str, list[NDArray[np.float32]]] = {name: [] for name in stack.members}
    for index, entry in enumerate(model.manifest.networks):
        each[f"trial-{entry.trial}"].append(model.predict_one(index, data.test_images))
    said = stack.combine({name: np.mean(found, axis=0) for name, found in each.items()})
    predicted = model.predict(data.test_images)
    assert np.array_equal(predicted.argmax(1), said.argmax(1))
    right = METRICS["accuracy"].score(data.test_labels, predicted)
    assert job.result["test_accuracy"] == pytest.approx(right)
    manifest = json.loads((folder / "model.json").read_text())
    manifest["stack"]["members"][0] = "trial-99"
    (folder / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFolderError, match="a stack must have the members"):
        read_manifest(folder)


def test_what_is_no_stack() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        fitted_stack({}, [], seed=0)
    with pytest.raises(ValueError, match="must have a weight"):
        Stack(members=("a", "b"), weights=(1.0,), biases=(0.0,))
