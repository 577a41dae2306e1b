"""The best of many trials is told without its luck."""

import numpy as np
import pytest

from search.marks import Marks
from search.optimism import score_of_a_choice


@pytest.mark.parametrize("trials", [2, 10, 40])
def test_equal_trials_are_as_good_as_they_are_whoever_is_luckiest(trials: int) -> None:
    random = np.random.default_rng(trials)
    told, best = [], []
    for _ in range(30):
        right = random.random((trials, 500)) < 0.8
        ranked = right[np.argsort(-right.mean(1))]  # as a leaderboard has them
        corrected = score_of_a_choice([Marks(row) for row in ranked])
        assert corrected is not None
        told.append(corrected)
        best.append(right.mean(1).max())
    assert np.mean(told) == pytest.approx(0.8, abs=0.006)
    assert np.mean(best) > 0.8 + 0.006  # which is what a leaderboard would say


def test_a_clear_winner_is_not_corrected() -> None:
    random = np.random.default_rng(0)
    right = [random.random(4000) < share for share in (0.95, 0.7, 0.7)]
    corrected = score_of_a_choice([Marks(row) for row in right])
    assert corrected == pytest.approx(right[0].mean(), abs=0.001)


def test_of_one_trial_or_of_unequal_ones_nothing_is_said() -> None:
    one = Marks(np.ones(9, dtype=bool))
    assert score_of_a_choice([]) is None and score_of_a_choice([one]) is None
    assert score_of_a_choice([one, Marks(np.ones(10, dtype=bool))]) is None


def test_among_equals_the_order_decides_nothing() -> None:
    """Few images make many ties; the best on all of them, left-out ones included, comes first."""
    random = np.random.default_rng(1)
    told = []
    for _ in range(60):
        right = random.random((40, 100)) < 0.9
        corrected = score_of_a_choice([Marks(row) for row in right[np.argsort(-right.mean(1))]])
        assert corrected is not None
        told.append(corrected)
    assert np.mean(told) == pytest.approx(0.9, abs=0.004)


def test_groups_are_drawn_and_left_out_together() -> None:
    """Ten copies of each image choose no better than one, and none of them judges what it chose."""
    random, images = np.random.default_rng(2), 60
    told = []
    for _ in range(40):
        right = random.random((40, images)) < 0.8
        groups = np.repeat(np.arange(images), 10)
        corrected = score_of_a_choice([Marks(row.repeat(10), groups) for row in right])
        assert corrected is not None
        told.append(corrected)
    assert np.mean(told) == pytest.approx(0.8, abs=0.01)
    blind = score_of_a_choice([Marks(row.repeat(10)) for row in right])
    assert blind is not None and blind > told[-1] + 0.02


def test_images_of_large_groups_count_as_much_as_those_of_small_ones() -> None:
    """Twenty small groups are easy, one large one is not: the leaderboard's score is mostly its."""
    random, told, best = np.random.default_rng(3), [], []
    groups = np.r_[np.zeros(500, np.int64), 1 + np.arange(100) // 5]
    for _ in range(20):
        right = random.random((8, 600)) < np.where(groups == 0, 0.6, 0.99)
        corrected = score_of_a_choice([Marks(row, groups) for row in right])
        assert corrected is not None
        told.append(corrected)
        best.append(right.mean(1).max())
    assert 0.62 < np.mean(told) < np.mean(best)
