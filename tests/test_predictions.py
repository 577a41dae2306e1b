"""Out-of-fold predictions pool rows, average repeats, and refuse what is no distribution."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.predictions import OutOfFoldPredictions, share_interval

TARGETS = np.array([0, 1, 2, 1, 0])


def distributions(rows: int, *, classes: int = 3, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).dirichlet(np.ones(classes), size=rows)
    return drawn.astype(np.float32)


def partly_covered() -> OutOfFoldPredictions:
    """Rows 0 and 3 are right, row 4 is wrong, rows 1 and 2 are not predicted."""
    given = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.2, 0.2, 0.6]])
    empty = OutOfFoldPredictions.empty(TARGETS, 3)
    return empty.with_fold(np.array([0, 3]), given[:2]).with_fold(np.array([4]), given[2:])


def test_nothing_is_covered_at_first() -> None:
    empty = OutOfFoldPredictions.empty(TARGETS, 3)
    assert not empty.covered.any() and np.isnan(empty.probabilities).all()
    assert empty.probabilities.shape == (5, 3) and empty.probabilities.dtype == np.float32
    assert math.isnan(empty.accuracy()) and math.isnan(empty.log_loss())


def test_scores_are_pooled_over_covered_rows() -> None:
    made = partly_covered()
    assert made.covered.tolist() == [True, False, False, True, True]
    # The mean of the two folds' accuracies would be 1/2.
    assert made.accuracy() == pytest.approx(2 / 3)
    expected = -(math.log(0.7) + math.log(0.5) + math.log(0.2)) / 3
    assert made.log_loss() == pytest.approx(expected, rel=1e-6)
    assert np.isnan(made.probabilities[[1, 2]]).all()


def test_adding_a_fold_leaves_the_original_alone() -> None:
    empty = OutOfFoldPredictions.empty(TARGETS, 3)
    empty.with_fold(np.arange(5), distributions(5))
    assert not empty.covered.any() and np.isnan(empty.probabilities).all()


@given(repeats=st.integers(1, 5), seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_repeats_are_averaged(repeats: int, seed: int) -> None:
    draws = [distributions(2, seed=seed + each) for each in range(repeats)]
    made = OutOfFoldPredictions.empty(TARGETS, 3)
    for draw in draws:
        made = made.with_fold(np.array([3, 1]), draw)
    assert made.repeats.tolist() == [0, repeats, 0, repeats, 0]
    assert made.probabilities[[3, 1]] == pytest.approx(np.mean(draws, axis=0), abs=1e-6)


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    made = OutOfFoldPredictions.empty(np.array([1]), 2)
    made = made.with_fold(np.array([0]), np.array([[1.0, 0.0]]))
    assert made.accuracy() == 0.0
    assert made.log_loss() == pytest.approx(-math.log(np.finfo(np.float32).eps))


@pytest.mark.parametrize(
    ("rows", "probabilities", "message"),
    [
        ([0, 1], [[1, 0, 0]], r"shape \(2, 3\), but got \(1, 3\)"),
        ([0], [[1, 0]], r"shape \(1, 3\), but got \(1, 2\)"),
        ([5], [[1, 0, 0]], "from 0 to 4, but got 5 to 5"),
        ([-1], [[1, 0, 0]], "from 0 to 4, but got -1 to -1"),
        ([1, 1], [[1, 0, 0], [1, 0, 0]], "come once, but got 1 among 2"),
        ([0.5], [[1, 0, 0]], "must be a row of integers"),
        ([0], [[math.nan, 0, 1]], "finite, but got 1 that"),
        ([0], [[math.inf, 0, 1]], "finite, but got 1 that"),
        ([0], [[-0.5, 0.5, 1]], "must not be negative, but got -0.5"),
        ([0], [[0.5, 0.2, 0.2]], r"must sum to 1, but got 0\.9"),
    ],
)
def test_what_is_no_fold(rows: list[float], probabilities: list[list[float]], message: str) -> None:
    empty = OutOfFoldPredictions.empty(TARGETS, 3)
    given_rows: NDArray[np.int64] = np.array(rows)
    with pytest.raises(ValueError, match=message):
        empty.with_fold(given_rows, np.array(probabilities, dtype=np.float64))


def test_sums_off_by_half_precision_pass() -> None:
    half = distributions(5).astype(np.float16)
    assert OutOfFoldPredictions.empty(TARGETS, 3).with_fold(np.arange(5), half).covered.all()


@pytest.mark.parametrize("targets", [[0, 3], [-1, 0]])
def test_targets_have_a_column(targets: list[int]) -> None:
    with pytest.raises(ValueError, match="targets must be from 0 to 2, but got"):
        OutOfFoldPredictions.empty(np.array(targets), 3)


def test_numbers_in_rows_without_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="must be NaN"):
        OutOfFoldPredictions(TARGETS, distributions(5), np.zeros(5, dtype=np.int32))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "targets",
            np.zeros(4, dtype=np.int64),
            r"probabilities must be float32 of shape \(4, 3\)",
        ),
        ("targets", np.zeros(5, dtype=np.int32), "targets must be int64"),
        ("probabilities", np.zeros((5, 3)), "probabilities must be float32"),
        ("repeats", np.full(5, 1, dtype=np.int32), "finite, but got 6 that"),
    ],
)
def test_arrays_that_do_not_fit(name: str, value: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OutOfFoldPredictions(**{**vars(partly_covered()), name: np.asarray(value)})


@pytest.mark.parametrize(
    ("correct", "total", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),  # Newcombe, Statistics in Medicine 17 (1998), table I
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (0.8830, 1.0)),
    ],
)
def test_published_intervals(correct: int, total: int, expected: tuple[float, float]) -> None:
    assert share_interval(correct / total, rows=total) == pytest.approx(expected, abs=5e-5)


@given(total=st.integers(1, 10**6), data=st.data())
def test_an_interval_holds_its_accuracy_and_mirrors(total: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, total))
    low, high = share_interval(correct / total, rows=total)
    assert 0 <= low <= correct / total <= high <= 1 and low < high
    mirrored = share_interval((total - correct) / total, rows=total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
