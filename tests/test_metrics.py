"""Metrics are those of scikit-learn, and their errors those of other rows of the same kind."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as theirs

from search.metrics import METRIC_NAMES, METRICS, confusion, roc_auc, score_text
from search.score_errors import (
    binomial_error,
    bootstrap_interval,
    design_effect,
    group_effect,
    standard_error,
    widened,
)

Rows = tuple[NDArray[np.int64], NDArray[np.float32]]


def some_rows(seed: int, *, rows: int = 200, classes: int = 4, sharpness: float = 1.0) -> Rows:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes)) + sharpness * np.eye(classes)[targets]
    powers = np.exp(logits.round(1))  # with ties
    return targets, (powers / powers.sum(1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), rows=st.integers(30, 200))
def test_scores_are_those_of_scikit_learn(seed: int, classes: int, rows: int) -> None:
    targets, probabilities = some_rows(seed, rows=rows, classes=classes)
    predicted = probabilities.argmax(1)
    labels = list(range(classes))
    one = probabilities[:, 1] if classes == 2 else probabilities.astype(np.float64)
    more = {} if classes == 2 else {"multi_class": "ovr", "labels": labels}
    if len(np.unique(targets)) < classes:
        return
    if classes > 2:
        one = one / one.sum(1, keepdims=True)
    expected = {
        "accuracy": theirs.accuracy_score(targets, predicted),
        "balanced_accuracy": theirs.balanced_accuracy_score(targets, predicted),
        "macro_f1": theirs.f1_score(targets, predicted, average="macro", labels=labels),
        "log_loss": -theirs.log_loss(targets, probabilities, labels=labels),
        "roc_auc": theirs.roc_auc_score(targets, one, **more),
    }
    for metric in METRICS.values():
        if metric.task == "classification":
            score = metric.score(targets, probabilities)
            assert score == pytest.approx(expected[metric.name], abs=1e-5)


def test_a_class_that_does_not_occur_changes_no_score() -> None:
    targets, probabilities = some_rows(0)
    wider = np.concatenate([probabilities, np.zeros((len(targets), 1), np.float32)], axis=1)
    for metric in METRICS.values():
        assert metric.score(targets, wider) == pytest.approx(metric.score(targets, probabilities))
    assert confusion(targets, wider).shape == (5, 5)


def test_one_class_alone_has_no_area() -> None:
    assert math.isnan(roc_auc(np.zeros(3, np.int64), np.eye(3, 2)))


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_errors_and_intervals_are_those_of_other_rows(name: str) -> None:
    metric = METRICS[name]  # type: ignore[index]
    scores = [metric.score(*some_rows(seed)) for seed in range(300)]
    targets, probabilities = some_rows(1000)
    found = standard_error(metric, targets, probabilities, seed=0)
    assert found == pytest.approx(np.std(scores), rel=0.35)
    spans = [bootstrap_interval(metric, *some_rows(seed), seed=seed) for seed in range(60)]
    mean = float(np.mean(scores))
    assert sum(low <= mean <= high for low, high in spans) >= 50  # of 57 expected


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_a_few_rows_that_are_all_right_do_not_say_that_all_others_are(name: str) -> None:
    metric = METRICS[name]  # type: ignore[index]
    targets = np.array([0] * 990 + [1] * 10)
    probabilities = np.eye(2, dtype=np.float32)[targets]
    low, high = bootstrap_interval(metric, targets, probabilities, seed=0)
    assert 0.85 < low < 0.98 and high == 1.0
    assert 0.01 < standard_error(metric, targets, probabilities, seed=0) < 0.06


def test_rows_of_a_group_that_are_right_together_are_as_few_as_groups() -> None:
    generator = np.random.default_rng(0)
    groups = np.arange(4000) // 40
    together = generator.integers(0, 2, 100).astype(float)[groups]
    alone = generator.integers(0, 2, 4000).astype(float)
    assert design_effect(together, groups) == pytest.approx(40.0, rel=0.05)
    assert 1.0 <= design_effect(alone, groups) < 1.6
    assert design_effect(alone, np.arange(4000)) == pytest.approx(1.0, rel=0.001)
    assert design_effect(np.ones(4000), groups) == 40.0  # nothing is known of how they differ
    assert widened((0.8, 0.95), 0.9, effect=4.0, highest=1.0) == pytest.approx((0.7, 1.0))


def test_few_groups_or_one_mistake_do_not_say_that_groups_do_not_matter() -> None:
    groups = np.arange(5000) // 50
    right = np.ones(5000)
    whole = design_effect(right, groups)
    right[7] = 0.0
    assert whole == 50.0 and 20.0 < design_effect(right, groups) < whole
    right[::50] = 0.0  # a mistake in each group: now it is known that they come alone
    assert design_effect(right, groups) < 2.0
    generator = np.random.default_rng(0)
    three = np.arange(300) // 100  # 2 degrees of freedom: Student's quantile is 4.3
    alone = [design_effect(generator.integers(0, 2, 300).astype(float), three) for _ in range(50)]
    assert min(alone) >= (4.30 / 1.96) ** 2 - 0.01


def test_an_accuracy_of_one_is_not_known_for_sure() -> None:
    assert 0.002 < binomial_error(1.0, rows=200) < 0.006
    assert binomial_error(0.85, rows=4000) == pytest.approx(math.sqrt(0.85 * 0.15 / 4000), rel=1e-3)


def test_equal_seeds_give_equal_errors() -> None:
    rows = some_rows(0)
    one, again = (standard_error(METRICS["macro_f1"], *rows, seed=3) for _ in range(2))
    assert one == again


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.91239, "0.9124"),
        (1.0, "1.0000"),
        (-0.2937, "-0.2937"),
        (0.0, "0.0000"),
        (-308.1234, "-308.12"),
        (-1.23456e-7, "-1.2346e-07"),
    ],
)
def test_scores_are_written_with_the_digits_that_count(score: float, text: str) -> None:
    assert score_text(score) == text


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_copies_of_a_row_tell_no_more_than_the_row(name: str) -> None:
    metric = METRICS[name]  # type: ignore[index]
    rows: tuple[Any, Any] = some_rows(0, rows=300)
    if metric.task == "regression":
        numbers, noise = np.random.default_rng(0).normal(size=(2, 300))
        rows = numbers, (numbers + noise)[:, None]
    targets, probabilities = rows
    ten = np.repeat(np.arange(300), 10)
    order = np.random.default_rng(2).permutation(len(ten))
    copied = targets[ten][order], probabilities[ten][order]
    effect = group_effect(metric, *copied, ten[order], seed=0)
    mean = name in ("accuracy", "log_loss", "rmse", "mae", "r2")
    assert effect == pytest.approx(10.0, rel=0.02 if mean else 0.5)
    single = group_effect(metric, targets, probabilities, np.arange(300), seed=0)
    assert 1.0 <= single < (1.02 if mean else 1.8)


def test_losses_may_be_more_alike_in_a_group_than_hits_are() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 30)
    blurred = groups < 10
    right = generator.random(3000) < np.where(blurred, 0.85, 0.98)
    given = np.where(right, np.where(blurred, 0.5, 0.95), np.where(blurred, 0.1, 0.04))
    probabilities = np.stack([given, 1.0 - given], axis=1)
    probabilities[right & blurred] = (0.501, 0.499)
    targets = np.zeros(3000, dtype=np.int64)
    effects = {
        name: group_effect(METRICS[name], targets, probabilities, groups, seed=0)
        for name in ("accuracy", "log_loss")
    }
    assert effects["log_loss"] > 2.0 * effects["accuracy"]
