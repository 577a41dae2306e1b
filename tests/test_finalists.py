"""The finalists are the best trials, luck alone does not displace the prior, all use their time."""

import dataclasses
import math

import pytest

from search.finalists import (
    CHALLENGERS,
    best_trials,
    prior_stands,
    smallest_within,
    spread_over_costs,
)
from search.plan import HostSpeed, Plan
from search.store.records import TrialRecord
from spaces.architecture import Architecture, Stage, Stem
from spaces.cnn import CnnSpace
from spaces.recipe import Candidate, Recipe
from tests.records import record
from workers.finalist import FASTER, MAX_EPOCHS, MAX_IMAGES, lengthened

NETWORK = Architecture(stem=Stem(width=8), stages=(Stage(width=8, depth=1),))


def chosen(
    board: list[TrialRecord], *, count: int = 2, with_prior: bool = False, rows: int = 4000
) -> list[int]:
    found = best_trials(board, count=count, with_prior=with_prior, validation_rows=rows)
    return [each.number for each in found]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(4000, [0, 7]), (100_000, [7, 5])],
    ids=["as luck has it", "beyond luck"],
)
def test_the_prior_is_displaced_only_beyond_luck(rows: int, expected: list[int]) -> None:
    board = [record(7, 0.885), record(5, 0.884), record(0, 0.881)]
    assert chosen(board, rows=rows) == expected


def test_the_more_trials_the_more_luck() -> None:
    few = [record(7, 0.893), record(0, 0.885)]  # 1.6 standard errors
    assert chosen(few, count=1) == [7]
    many = [record(100 + number, 0.7, state="pruned") for number in range(30)]
    assert chosen([*few, *many], count=1) == [0]


def test_a_far_better_trial_comes_first() -> None:
    assert chosen([record(3, 0.95), record(0, 0.90)]) == [3, 0]
    assert chosen([record(3, 0.95), record(0, 0.90)], count=1) == [3]


@pytest.mark.parametrize(
    ("errors", "count", "expected"),
    [(0.0, 1, [1]), (1.0, 1, [2]), (1.0, 3, [2, 1]), (30.0, 1, [4])],
    ids=["the best", "the cheapest within one error", "and the next", "the cheapest of all"],
)
def test_the_cheapest_within_some_errors_is_chosen(
    errors: float, count: int, expected: list[int]
) -> None:
    board = [  # one standard error is 0.47 points
        record(1, 0.900, macs=1000),
        record(2, 0.896, macs=400),
        record(3, 0.8955, macs=500),
        record(4, 0.894, macs=100),
        record(5, 0.99, "pruned", macs=1),
    ]
    found = smallest_within(board, cost="macs", errors=errors, count=count, validation_rows=4000)
    assert [each.number for each in found] == expected


def test_finalists_are_spread_over_the_costs_with_the_best_of_each_range() -> None:
    board = [
        record(1, 0.900, macs=100),
        record(2, 0.899, macs=110),
        record(3, 0.898, macs=1200),
        record(0, 0.890, macs=10_000),
        record(4, 0.895, macs=9000),
        record(5, 0.880, macs=400),
        record(6, 0.99, "pruned", macs=50),
    ]

    def chosen_of(count: int) -> list[int]:
        found = spread_over_costs(board, cost="macs", count=count, prior=0)
        return [each.number for each in found]

    assert chosen_of(2) == [1, 0]  # the prior is the one of its range, whatever its score
    assert chosen_of(3) == [1, 3, 0]
    assert chosen_of(4) == [1, 5, 3, 0]
    assert chosen_of(6) == [1, 2, 5, 3, 4, 0]
    equal = [record(1, 0.9, macs=100), record(2, 0.8, macs=100)]
    found = spread_over_costs(equal, cost="macs", count=3, prior=0)
    assert [each.number for each in found] == [1]


def test_where_no_trial_trained_to_its_end_the_best_is_chosen() -> None:
    board = [record(1, 0.9, "out of time", macs=9), record(2, 0.8, "out of time", macs=1)]
    found = smallest_within(board, cost="macs", errors=1.0, count=1, validation_rows=100)
    assert [each.number for each in found] == [1]


@pytest.mark.parametrize(
    ("best", "others", "prior", "stands"),
    [
        (0.881, CHALLENGERS - 1, "complete", True),
        (0.881, CHALLENGERS - 2, "complete", False),
        (0.90, CHALLENGERS - 1, "complete", False),
        (0.881, CHALLENGERS, "diverged", False),
    ],
    ids=["it does", "too few trials", "it is beaten", "it failed"],
)
def test_the_prior_stands_when_many_trials_have_not_displaced_it(
    best: float, others: int, prior: str, stands: bool
) -> None:
    pruned = [record(2 + n, 0.7, state="pruned") for n in range(others - 1)]
    board = [record(1, best), record(0, 0.88, state=prior), *pruned]
    running = record(99, 0.95, state="running")
    assert prior_stands([running, *board], validation_rows=4000) is stands


def test_the_prior_takes_part_in_a_race() -> None:
    board = [record(3, 0.95), record(2, 0.94), record(4, 0.93), record(0, 0.90)]
    assert chosen(board, count=3, with_prior=True) == [3, 2, 0]
    assert chosen(board, count=3) == [3, 2, 4]
    assert chosen([*board[:3], record(0, 0.90, state="diverged")], with_prior=True) == [3, 2]


def test_trials_that_did_not_finish_are_finalists_only_when_none_did() -> None:
    pruned = record(0, 0.9, state="pruned")
    assert chosen([record(4, 0.8), pruned]) == [4]
    assert chosen([pruned, record(2, 0.5, state="out of time")]) == [0, 2]


def test_there_are_no_more_finalists_than_asked_for() -> None:
    assert chosen([record(1, 0.9), record(2, 0.8), record(3, 0.7)], count=1) == [1]


def test_a_finalist_faster_than_its_trial_has_epochs_for_all_of_its_time() -> None:
    recipe = Recipe(batch_size=64, learning_rate=0.1, epochs=4)
    trial = dataclasses.replace(
        record(0, 0.9),
        candidate=Candidate(architecture=NETWORK, recipe=recipe),
        train_pace=0.001,
    )
    plan = Plan.model_construct(
        finalist_epochs=8, search_epochs=4, search_rows=10_000, space=CnnSpace()
    )
    made = lengthened(trial, plan, rows=40_000, seconds=400.0).recipe
    assert made.epochs == 10 * FASTER  # ten at the trial's pace
    assert made.batch_size == 64 * 4  # the root of ten times the images, in powers of two
    timeless = lengthened(trial, plan, rows=40_000, seconds=math.inf).recipe
    assert timeless.epochs == 8
    known = plan.model_copy(update={"finalist_images": {0: 200_000}})
    seen = lengthened(trial, known, rows=30_100, seconds=math.inf).recipe
    assert seen.batch_size * (30_100 // seen.batch_size) * seen.epochs >= 200_000
    assert seen.epochs == 7  # six would be too few
    few = lengthened(trial, known, rows=100, seconds=math.inf).recipe
    assert few.epochs * 100 == MAX_IMAGES and few.batch_size == 64
    some = lengthened(trial, known, rows=2000, seconds=math.inf).recipe
    assert some.epochs == MAX_EPOCHS and some.batch_size == 128
    assert lengthened(trial, plan, rows=40, seconds=400.0).recipe.epochs * 40 == MAX_IMAGES
    unfinished = dataclasses.replace(trial, train_pace=None, macs=5_000_000)
    slow = HostSpeed(images_per_second=250.0, macs=5_000_000)  # four times as slow
    plan = plan.model_copy(update={"speed": slow})
    short = lengthened(unfinished, plan, rows=40_000, seconds=400.0).recipe
    assert (short.epochs, short.batch_size) == (math.ceil(2.5 * FASTER), 64 * 2)
