"""A search begins with the prior, with and without mirroring; that decides it for all others."""

import pytest

from search.first_trials import (
    common_parameters,
    first_trials,
    leader,
    without_loser,
)
from search.how_to_train import HOW_TO_TRAIN, unstated
from spaces.cnn import CnnSpace
from tests.records import record

FIRST = first_trials(CnnSpace(), size=16)
ROWS = 2000  # at 85 %, two standard errors are 1.6 points


def test_the_first_trials_are_the_prior_with_and_without_mirroring() -> None:
    mirrored, plain = first_trials(CnnSpace(), size=16)
    assert (mirrored["augmentation"], plain["augmentation"]) == ("flip", "none")
    assert mirrored | {"augmentation": "none"} == plain
    assert mirrored["batch_size"] == 256
    narrowed = CnnSpace.from_json({"recipe": {"augmentations": ["flip"]}})
    assert len(first_trials(narrowed, size=16)) == 1


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
        record(number, score or 0.1, state="complete" if score else "pruned")
        for number, score in enumerate((prior, plain))
    ]
    winner = leader(FIRST, records, validation_rows=ROWS)
    common = common_parameters(FIRST, leader=winner, settled=tuple(HOW_TO_TRAIN))
    assert common["augmentation"] == expected
    assert common.items() <= FIRST[winner].items() and common.keys() == set(HOW_TO_TRAIN)
    others = [record(3, 0.7), record(2, 0.6)]
    left = without_loser([*others, *records], FIRST, leader=winner)
    assert [each.number for each in left] == [3, 2, winner]
    assert without_loser(records[1 - winner :][:1], FIRST, leader=winner)  # it is alone


@pytest.mark.parametrize("state", ["running", "waiting"])
def test_nothing_is_dropped_before_the_prior_has_ended(state: str) -> None:
    records = [record(0, 0.1, state=state), record(1, 0.9)]
    assert leader(FIRST, records, validation_rows=ROWS) == 0
    assert leader(FIRST, records[:1], validation_rows=ROWS) == 0


def test_where_the_space_leaves_no_choice_all_follow_the_prior() -> None:
    records = [record(0, 0.5), record(1, 0.9)]
    assert leader(FIRST[:1], records, validation_rows=ROWS) == 0
    common = common_parameters(FIRST[:1], leader=0, settled=["augmentation"])
    assert common == {"augmentation": "flip"}
    assert without_loser(records, FIRST[:1], leader=0) == records


def test_where_the_recipe_is_searched_nothing_is_decided() -> None:
    records = [record(0, 0.5), record(1, 0.9)]
    assert leader((), records, validation_rows=ROWS) == 0
    assert common_parameters((), leader=0, settled=["mixup"]) == {}
    assert without_loser(records, (), leader=0) == records


def test_what_a_space_states_is_tried_and_the_rest_is_settled() -> None:
    assert unstated(CnnSpace().recipe) == tuple(HOW_TO_TRAIN)
    stated = CnnSpace.from_json({"recipe": {"mixup": [0.0, 0.4], "optimizers": ["sgd"]}}).recipe
    assert set(HOW_TO_TRAIN) - set(unstated(stated)) == {"mixup", "optimizer"}
    prior = first_trials(CnnSpace(), size=16)[0]
    assert set(HOW_TO_TRAIN) <= prior.keys()
