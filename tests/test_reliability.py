"""Bins of confidence, the calibration error and the mistakes are what was counted by hand."""

import numpy as np
import pytest

from search.mistakes import Confusion, Mistake, confused_pairs, worst_mistakes
from search.reliability import Bin, calibration_error, reliability

PROBABILITIES = np.array([[0.9, 0.1], [0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
TARGETS = np.array([0, 1, 0, 1, 1])


def test_rows_are_binned_by_the_probability_of_the_predicted_class() -> None:
    found = reliability(PROBABILITIES, TARGETS, bins=10)
    assert [(each.rows, each.accuracy) for each in found] == [
        (1, 0.0),
        (1, 1.0),
        (1, 1.0),
        (2, 0.5),
    ]
    assert [each.confidence for each in found] == pytest.approx([0.5, 0.6, 0.7, 0.9])
    assert found[0] == Bin(low=0.4, high=0.5, rows=1, confidence=0.5, accuracy=0.0)


def test_the_calibration_error_is_the_mean_distance_by_rows() -> None:
    found = calibration_error(reliability(PROBABILITIES, TARGETS, bins=10))
    assert found == pytest.approx((0.5 + 0.4 + 0.3 + 2 * 0.4) / 5)


def test_a_probability_is_in_the_bin_around_it() -> None:
    (only,) = reliability(np.array([[0.55, 0.45]]), np.array([0]), bins=10)
    assert (only.low, only.high) == (0.5, 0.6)


def test_certainty_is_in_the_last_bin() -> None:
    (only,) = reliability(np.array([[1.0, 0.0]]), np.array([0]))
    assert (only.high, only.accuracy) == (1.0, 1.0)


def test_confused_pairs_are_those_with_the_most_rows() -> None:
    counts = np.array([[5, 3, 0], [1, 8, 1], [0, 0, 4]])
    assert confused_pairs(counts, most=2) == (
        Confusion(target=0, predicted=1, rows=3, share=0.375),
        Confusion(target=1, predicted=0, rows=1, share=0.1),
    )
    assert len(confused_pairs(counts, most=9)) == 3
    assert confused_pairs(np.diag([1, 2]), most=3) == ()


def test_the_worst_mistakes_come_first() -> None:
    rows = np.array([10, 11, 12, 13, 14])
    (worst, other) = worst_mistakes(PROBABILITIES, TARGETS, rows, most=5)
    assert worst == Mistake(row=11, target=1, predicted=0, probability=0.9, given=0.1)
    assert other.row == 14
    assert worst_mistakes(PROBABILITIES, TARGETS, rows, most=1) == (worst,)
