"""What is expected of the test set holds, however many models were there to be chosen among."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from search.combining import Combining
from search.estimate import Estimate, estimate
from search.metrics import METRICS
from search.predictions import OutOfFoldPredictions
from search.selection import greedy_selection

ACCURACY = METRICS["accuracy"]
FOLDS, ROWS, TEST = 4, 240, 300


Problem = tuple[
    dict[str, OutOfFoldPredictions], list[NDArray[np.int64]], dict[str, Any], NDArray[np.int64]
]


def some_models(seed: int, *, models: int, skill: float = 0.6) -> Problem:
    """Return models of equal worth on the rows of four folds, and what they give for a test."""
    generator = np.random.default_rng(seed)
    rows = FOLDS * ROWS
    targets = generator.integers(0, 4, rows + TEST)
    parts = [np.arange(ROWS) + ROWS * fold for fold in range(FOLDS)]
    predictions, tests = {}, {}
    for model in range(models):
        logits = generator.normal(size=(rows + TEST, 4)) + skill * np.eye(4)[targets]
        powers = np.exp(2.0 * logits)
        drawn = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
        empty = OutOfFoldPredictions.empty(targets[:rows], 4)
        predictions[f"m{model}"] = empty.with_fold(np.arange(rows), drawn[:rows])
        tests[f"m{model}"] = drawn[rows:]
    return predictions, parts, tests, targets[rows:]


def estimated(
    predictions: dict[str, OutOfFoldPredictions],
    parts: list[NDArray[np.int64]],
    combining: Combining,
    **more: Any,
) -> Estimate:
    judged = combining.cross_fitted(predictions, parts)
    given: dict[str, Any] = {"test_rows": TEST, "lower": False, **more}
    return estimate(judged, metric=combining.metric, seed=combining.seed, **given)


@pytest.mark.parametrize("models", [1, 12])
def test_the_interval_holds_the_test_score_nearly_always(models: int) -> None:
    held, flattered = 0, []
    for seed in range(60):
        predictions, parts, tests, targets = some_models(seed, models=models)
        found = estimated(predictions, parts, Combining(seed=seed))
        ensemble = greedy_selection(predictions=predictions, seed=seed)
        low, high = found.interval
        held += low <= ACCURACY.score(targets, ensemble.combine(tests)) <= high
        flattered.append(ensemble.score - found.score)
        width = 2 * 1.96 * np.sqrt(found.score * (1 - found.score) / TEST)
        assert high - low <= 1.5 * width
    assert held >= 53  # of 57 expected
    if models > 1:  # the rows that weights were chosen on say more than is true
        assert np.mean(flattered) > 0.002


@pytest.mark.parametrize("name", ["accuracy", "log_loss"])
def test_rows_in_groups_make_an_interval_as_wide_as_fewer_rows(name: str) -> None:
    predictions, parts, *_ = some_models(0, models=1)
    combining = Combining(seed=0, metric=METRICS[name])  # type: ignore[index]
    widths = []
    for effect in (1.0, 4.0):
        found = estimated(predictions, parts, combining, effect=effect)
        widths.append(found.interval[1] - found.interval[0])
    assert widths[1] == pytest.approx(2.0 * widths[0], rel=0.05)


def test_one_model_is_taken_as_it_is() -> None:
    predictions, parts, *_ = some_models(0, models=1)
    judged = Combining(seed=0).cross_fitted(predictions, parts)
    assert np.array_equal(judged.probabilities, predictions["m0"].probabilities)
    assert np.array_equal(judged.targets, predictions["m0"].targets)


def test_a_row_has_no_say_in_its_own_weights() -> None:
    """Two models, each of which is right on one fold alone: chosen by the other fold, both fail."""
    targets = np.zeros(8, np.int64)
    right, wrong = np.array([0.9, 0.1], np.float32), np.array([0.1, 0.9], np.float32)
    parts = [np.arange(4), np.arange(4, 8)]
    first = np.stack([right] * 4 + [wrong] * 4)
    predictions = {
        name: OutOfFoldPredictions.empty(targets, 2).with_fold(np.arange(8), values)
        for name, values in (("a", first), ("b", first[::-1].copy()))
    }
    found = estimated(predictions, parts, Combining(seed=0), test_rows=8, lower=True)
    assert found.score == 0.0 and found.lower and found.rows == 8


def test_with_one_fold_the_weights_are_those_of_the_other_half() -> None:
    """One model is right, the other one surer and wrong: nobody would take their plain mean."""
    targets = np.zeros(12, np.int64)
    said = {"right": [0.9, 0.1], "wrong": [0.02, 0.98]}
    predictions = {
        name: OutOfFoldPredictions.empty(targets, 2).with_fold(
            np.arange(12), np.tile(np.array(each, np.float32), (12, 1))
        )
        for name, each in said.items()
    }
    part = [np.arange(12)]
    found = estimated(predictions, part, Combining(seed=0), test_rows=12)
    assert found.score == 1.0 and found.rows == 12


@pytest.mark.parametrize("positives", [1, 2, 5])
def test_halves_of_one_fold_have_equal_shares_of_a_rare_class_where_it_has_two_rows(
    positives: int,
) -> None:
    """Without a positive row there is no rank: then the log-loss decides, which is misled here."""
    targets = (np.arange(60) < positives).astype(np.int64)
    right = (0.9 + 0.05 * targets).astype(np.float32)
    wrong = (0.05 - 0.02 * targets).astype(np.float32)
    predictions = {
        name: OutOfFoldPredictions.empty(targets, 2).with_fold(
            np.arange(60), np.stack([1.0 - said, said], axis=1)
        )
        for name, said in (("right", right), ("wrong", wrong))
    }
    for seed in range(12):
        combining = Combining(seed=seed, metric=METRICS["roc_auc"])
        found = combining.cross_fitted(predictions, [np.arange(60)])
        assert np.array_equal(np.sort(found.rows), np.arange(60))
        if positives > 1:
            assert METRICS["roc_auc"].score(found.targets, found.probabilities) == 1.0


def test_halves_of_one_fold_part_no_group() -> None:
    """Labels by chance, which a model knows of all rows: its copies would tell the other half."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    targets = np.repeat(rng.integers(0, 2, 30), 4)
    predictions = {
        f"m{n}": OutOfFoldPredictions.empty(targets, 2).with_fold(
            np.arange(120), np.repeat(rng.dirichlet([1.0, 1.0], 30), 4, axis=0).astype(np.float32)
        )
        for n in range(40)
    }
    combining = Combining(seed=0)
    kept = combining.cross_fitted(predictions, [np.arange(120)], groups=groups)
    said = {group: kept.probabilities[groups[kept.rows] == group] for group in range(30)}
    assert all(len(np.unique(each, axis=0)) == 1 for each in said.values())
    parted = combining.cross_fitted(predictions, [np.arange(120)])
    scores = [METRICS["accuracy"].score(one.targets, one.probabilities) for one in (kept, parted)]
    assert scores[0] < scores[1] - 0.1


def test_no_score_is_expected_that_cannot_be() -> None:
    targets = np.arange(40) % 2
    said = np.eye(2, dtype=np.float32)[targets]
    said[0] = said[0, ::-1]
    one = {"m": OutOfFoldPredictions.empty(targets, 2).with_fold(np.arange(40), said)}
    parts = [np.arange(20), np.arange(20, 40)]
    for name in ("accuracy", "log_loss", "roc_auc"):
        metric = METRICS[name]
        found = estimated(one, parts, Combining(seed=0, metric=metric), test_rows=9)
        assert found.interval[0] < found.score <= found.interval[1] <= metric.highest
