"""Given validation rows judge the trials, and nothing that judges the ensemble learns its like."""

import numpy as np
import pytest

from search.splits import Columns, crossing, make_folds
from workers.given_validation import validation_first

LABELS = np.arange(60) % 3
GIVEN = np.arange(60) >= 48  # twelve rows
NOTHING = Columns()


def numbers_of(columns: Columns) -> np.ndarray:
    numbers = validation_first(columns, LABELS, GIVEN)[0].folds
    assert numbers is not None
    return numbers


def test_they_are_the_first_fold_and_the_training_rows_the_others() -> None:
    numbers = numbers_of(NOTHING)
    assert np.array_equal(numbers == 0, GIVEN) and set(numbers) == {0, 1, 2, 3, 4}
    assert validation_first(NOTHING, LABELS, GIVEN)[1] == ""
    of_class = np.array([np.bincount(LABELS[numbers == fold]) for fold in range(1, 5)])
    assert (of_class == 4).all()


def test_folds_that_the_data_state_stay() -> None:
    stated = Columns(folds=np.arange(60) % 5, times=np.arange(60.0))
    assert validation_first(stated, LABELS, GIVEN) == (stated, "")


def test_what_the_validation_rows_have_as_well_judges_no_other_fold() -> None:
    """Six training rows are copies of given ones, and the others come in pairs."""
    groups = np.arange(60) // 2
    groups[:6] = groups[-6:]
    numbers = numbers_of(Columns(groups=groups))
    assert (numbers[:6] == -1).all() and set(numbers[6:48]) == {1, 2, 3, 4}
    folds = make_folds(LABELS, Columns(groups, folds=numbers), k=5, seed=0, data_fingerprint="")[0]
    for fold in folds.folds[1:]:
        assert not set(groups[fold.train_rows]) & set(groups[fold.validation_rows])
    assert crossing(groups, folds) == 3  # the judging fold is as it was given, which is said


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (Columns(times=np.arange(60.0)), "parted with the others, by their times"),
        (Columns(groups=np.arange(60) % 7), "by their groups: 100% of the training rows"),
    ],
    ids=["times", "groups"],
)
def test_where_something_else_parts_the_rows_they_are_parted_with_the_others(
    columns: Columns, why: str
) -> None:
    found, said = validation_first(columns, LABELS, GIVEN)
    assert found is columns and why in said
