"""A search begins with the prior, with and without mirroring; that decides it for all others."""

import pytest

from search.first_trials import common_parameters, first_trials, leader, without_loser
from spaces.cnn import CnnSpace
from tests.records import record

FIRST = first_trials(CnnSpace(), width=16)
ROWS = 2000  # at 85 %, two standard errors are 1.6 points


def test_the_first_trials_are_the_prior_with_and_without_mirroring() -> None:
    mirrored, plain = first_trials(CnnSpace(), width=16)
    assert (mirrored["augmentation"], plain["augmentation"]) == ("flip", "none")
    assert mirrored | {"augmentation": "none"} == plain
    assert mirrored["batch_size"] == 256
    narrowed = CnnSpace.from_json({"recipe": {"augmentations": ["flip"]}})
    assert len(first_trials(narrowed, width=16)) == 1


@pytest.mark.parametrize(
    ("prior", "plain", "expected"),
    [
        (0.85, 0.84, "flip"),
        (0.85, 0.865, "flip"),
        (0.85, 0.867, "none"),
        (0.85, None, "flip"),
        (None, 0.5, "none"),
        (None, None, "flip"),
    ],
)
def test_mirroring_is_dropped_only_where_it_clearly_does_harm(
    prior: float | None, plain: float | None, expected: str
) -> None:
    records = [
        record(number, score, state="complete")
        if score is not None
        else record(number, 0.1, "pruned")
        for number, score in enumerate((prior, plain))
    ]
    winner = leader(FIRST, records, validation_rows=ROWS)
    assert common_parameters(FIRST, leader=winner) == {"augmentation": expected}
    others = [record(3, 0.7), record(2, 0.6)]
    left = without_loser([*others, *records], FIRST, leader=winner)
    assert [each.number for each in left] == [3, 2, winner]
    assert without_loser(records[1 - winner :][:1], FIRST, leader=winner)  # it is alone


def test_where_the_space_leaves_no_choice_nothing_is_decided() -> None:
    records = [record(0, 0.5), record(1, 0.9)]
    assert leader(FIRST[:1], records, validation_rows=ROWS) == 0
    assert common_parameters(FIRST[:1], leader=0) == {}
    assert without_loser(records, FIRST[:1], leader=0) == records
