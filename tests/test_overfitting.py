"""The gap between what was learnt and what was not seen is told, with a word."""

import pytest

from search.folds import ALL_ROWS, JUDGING_FOLD
from search.overfitting import gaps
from search.store import FoldTask


def fold(trial: int, number: int, training: float, left_out: float | None) -> FoldTask:
    return FoldTask(
        job_id="job",
        trial=trial,
        fold=number,
        place=0,
        state="done",
        files="f",
        score=left_out,
        report={"train_accuracy": training, "validation_accuracy": left_out},
    )


def test_gaps_are_means_over_the_folds_that_judge() -> None:
    tasks = [
        fold(7, JUDGING_FOLD, 0.1, 0.9),
        fold(7, ALL_ROWS, 0.99, None),
        fold(7, 1, 0.96, 0.92),
        fold(7, 2, 0.98, 0.94),
        fold(3, 1, 0.90, 0.91),
    ]
    first, second = gaps(tasks)
    assert (first.trial, second.trial) == (7, 3)
    assert first.training == pytest.approx(0.97) and first.left_out == pytest.approx(0.93)
    assert first.points == pytest.approx(4.0) and second.points == pytest.approx(-1.0)
    assert gaps([]) == []


@pytest.mark.parametrize(
    ("training", "word"),
    [(0.90, "hardly overfits"), (0.94, "overfits somewhat"), (0.99, "smaller network may help")],
)
def test_a_word_on_overfitting(training: float, word: str) -> None:
    (gap,) = gaps([fold(0, 1, training, 0.90)])
    assert word in gap.word


def test_who_has_learnt_all_is_not_told_to_learn_more() -> None:
    (gap,) = gaps([fold(0, 1, 1.0, 0.99)])
    assert "has learnt its images" in gap.word
