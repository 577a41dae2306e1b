"""The best of many trials is told without its luck."""

import numpy as np
import pytest

from search.optimism import score_of_a_choice
from search.pairing import packed, unpacked


@pytest.mark.parametrize("trials", [2, 10, 40])
def test_equal_trials_are_as_good_as_they_are_whoever_is_luckiest(trials: int) -> None:
    random = np.random.default_rng(trials)
    told, best = [], []
    for _ in range(30):
        right = random.random((trials, 500)) < 0.8
        ranked = right[np.argsort(-right.mean(1))]  # as a leaderboard has them
        corrected = score_of_a_choice([packed(row) for row in ranked])
        assert corrected is not None
        told.append(corrected)
        best.append(right.mean(1).max())
    assert np.mean(told) == pytest.approx(0.8, abs=0.006)
    assert np.mean(best) > 0.8 + 0.006  # which is what a leaderboard would say


def test_a_clear_winner_is_not_corrected() -> None:
    random = np.random.default_rng(0)
    right = [random.random(4000) < share for share in (0.95, 0.7, 0.7)]
    corrected = score_of_a_choice([packed(row) for row in right])
    assert corrected == pytest.approx(right[0].mean(), abs=0.001)


def test_of_one_trial_or_of_unequal_ones_nothing_is_said() -> None:
    one = packed(np.ones(9, dtype=bool))
    assert score_of_a_choice([]) is None and score_of_a_choice([one]) is None
    assert score_of_a_choice([one, packed(np.ones(10, dtype=bool))]) is None


def test_what_was_packed_is_unpacked() -> None:
    right = np.random.default_rng(0).random(1003) < 0.5
    assert np.array_equal(unpacked(packed(right)), right)


def test_among_equals_the_order_decides_nothing() -> None:
    """Few images make many ties; the best on all of them, left-out ones included, comes first."""
    random = np.random.default_rng(1)
    told = []
    for _ in range(60):
        right = random.random((40, 100)) < 0.9
        corrected = score_of_a_choice([packed(row) for row in right[np.argsort(-right.mean(1))]])
        assert corrected is not None
        told.append(corrected)
    assert np.mean(told) == pytest.approx(0.9, abs=0.004)
