"""What the time of a job is spent on, decided when it starts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.job_spec import JobSpec
from search.plan import (
    MIN_ROWS,
    START_SECONDS,
    UNLIMITED_ROWS,
    HostSpeed,
    Plan,
    Shape,
    finalists_for,
    folds_for,
    judging_parts_for,
    macs_for,
    rows_for_trials,
    search_seconds,
    splits_for,
    survivors_for,
)

budgets = st.floats(20.0, 100_000.0)
shapes = st.builds(
    Shape,
    rows=st.integers(100, 200_000),
    splits=st.integers(2, 20),
    folds=st.integers(1, 19),
    workers=st.integers(1, 64),
)
speeds = st.builds(
    HostSpeed,
    images_per_second=st.floats(10.0, 1e6),
    macs=st.integers(10_000, 1_000_000_000),
)


@given(budget=budgets)
def test_the_search_leaves_most_of_the_budget_to_the_finalists(budget: float) -> None:
    end = search_seconds(budget)
    assert end is not None and START_SECONDS < end <= 0.4 * budget + START_SECONDS
    assert end < budget


@given(
    budget=budgets,
    more=st.floats(0.0, 10_000.0),
    keep=st.integers(1, 20),
    epochs=st.integers(1, 50),
    rung=st.integers(0, 5),
    macs=st.integers(10_000, 1_000_000_000),
    shape=shapes,
    speed=speeds,
)
@settings(deadline=None)
def test_rows_of_a_trial_lie_within_a_fold_and_grow_with_the_budget(
    budget: float,
    more: float,
    keep: int,
    epochs: int,
    rung: int,
    macs: int,
    shape: Shape,
    speed: HostSpeed,
) -> None:
    def rows_for(budget: float, macs: int, epochs: int) -> int:
        return rows_for_trials(
            budget, epochs=epochs, rung=rung, keep=keep, macs=macs, shape=shape, speed=speed
        )

    epochs = max(epochs, rung)
    rows = rows_for(budget, macs, epochs)
    assert min(MIN_ROWS, shape.fold_rows) <= rows <= shape.fold_rows < shape.rows
    assert rows_for(budget, 2 * macs, epochs) <= rows <= rows_for(budget + more, macs, epochs)
    assert rows_for(budget, macs, 2 * epochs) <= rows


@given(budget=budgets, more=st.floats(0.0, 10_000.0), shape=shapes, speed=speeds)
@settings(deadline=None)
def test_the_largest_network_grows_with_the_budget(
    budget: float, more: float, shape: Shape, speed: HostSpeed
) -> None:
    def largest(seconds: float, survivors: int) -> int:
        landing = shape.model_copy(update={"survivors": survivors})
        found = macs_for(seconds, shape=landing, speed=speed)
        assert found is not None and found > 0
        return found

    assert largest(budget, 2) <= largest(budget + more, 2)
    assert largest(budget, 3) <= largest(budget, 2)


@given(speed=speeds, times=st.floats(0.5, 100.0))
def test_the_largest_network_trains_at_the_asked_pace(speed: HostSpeed, times: float) -> None:
    pace = speed.seconds_per_image(times * speed.macs)
    assert speed.macs_within(pace) == pytest.approx(times * speed.macs, rel=1e-3)
    assert speed.seconds_per_image(speed.macs) == pytest.approx(1 / speed.images_per_second)


def test_without_a_budget_only_the_rows_are_limited() -> None:
    shape = Shape(rows=60_000, splits=10, folds=4, workers=2)
    speed = HostSpeed(images_per_second=1000.0, macs=10**6)
    assert shape.fold_rows == 54_000
    assert search_seconds(None) is None
    assert macs_for(None, shape=shape, speed=speed) is None
    small = Shape(rows=100, splits=5, folds=4, workers=2)
    for sizes, rows in ((shape, UNLIMITED_ROWS), (small, 80)):
        found = rows_for_trials(
            None, epochs=12, rung=3, keep=3, macs=10**6, shape=sizes, speed=speed
        )
        assert found == rows
    assert finalists_for(None, workers=4) == survivors_for(None) == 2


@pytest.mark.parametrize(
    ("survivors", "workers", "folds"),
    [(1, 1, 4), (1, 2, 4), (2, 2, 4), (1, 3, 6), (1, 4, 4), (1, 5, 5), (1, 8, 8), (2, 4, 4)],
)
def test_folds_keep_all_workers_busy(survivors: int, workers: int, folds: int) -> None:
    assert folds_for(survivors=survivors, workers=workers, refit=False) == folds


@pytest.mark.parametrize(
    ("rows", "folds", "splits"),
    [(60_000, 4, 20), (60_000, 24, 25), (24_000, 4, 8), (1_797, 4, 5), (8, 1, 2)],
)
def test_a_judging_fold_is_left_and_many_rows_are_split_finely(
    rows: int, folds: int, splits: int
) -> None:
    assert splits_for(rows=rows, folds=folds) == splits


@pytest.mark.parametrize(
    ("splits", "folds", "parts"), [(20, 4, 2), (12, 8, 2), (11, 4, 1), (5, 4, 1), (20, 19, 1)]
)
def test_the_judging_fold_has_more_parts_where_none_is_missed(
    splits: int, folds: int, parts: int
) -> None:
    assert judging_parts_for(splits=splits, folds=folds) == parts


def test_a_class_of_few_rows_has_fewer_folds_unless_they_are_asked_for() -> None:
    spec = JobSpec.parse({"data": "digits", "budget": "10m", "workers": 16})
    counts = {100: (8, 20), 9: (8, 9), 5: (4, 5), 2: (1, 2)}
    for rarest, (folds, splits) in counts.items():
        assert spec.fold_count(rarest=rarest, refit=False) == folds
        assert spec.split_count(rows=60_000, rarest=rarest, count=folds) == splits
    assert spec.split_count(rows=60_000, rarest=1, count=1) == 2  # which is then refused, in words
    asked = JobSpec.parse({"data": "digits", "budget": "10m", "folds": 8})
    assert asked.fold_count(rarest=5, refit=False) == 8
    assert asked.split_count(rows=1_797, rarest=5, count=8) == 9


def test_longer_budgets_have_more_finalists() -> None:
    budgets = (20.0, 1200.0, 1800.0, 3600.0, 7200.0)
    assert [finalists_for(budget, workers=2) for budget in budgets] == [1, 1, 2, 2, 4]
    assert [survivors_for(budget) for budget in budgets] == [1, 1, 1, 1, 2]
    assert [finalists_for(3600.0, workers=workers) for workers in (1, 4, 64)] == [2, 4, 8]


def test_finalists_that_were_asked_for_do_not_race() -> None:
    spec = JobSpec.parse({"data": "digits", "budget": "1h", "workers": 2})
    assert (spec.finalist_count, spec.survivor_count) == (2, 1)
    for keys, counts in (
        ({"budget": "1h", "finalists": 3}, (3, 3)),
        ({"budget": "1h", "trials": 1}, (1, 1)),
        ({"trials": 9}, (2, 2)),
    ):
        spec = JobSpec.parse({"data": "digits", **keys})
        assert (spec.finalist_count, spec.survivor_count) == counts


def test_the_search_grows_more_slowly_than_a_long_budget() -> None:
    shares = [(search_seconds(budget) or 0.0) / budget for budget in (600.0, 1800.0, 3600.0)]
    assert shares[0] == pytest.approx(0.3, abs=0.02)
    assert shares[0] > shares[1] > shares[2] > 0.1


def test_trials_have_equal_times_within_limits_where_finalists_have() -> None:
    speed = HostSpeed(images_per_second=1000.0, macs=10**6)
    plan = Plan.model_construct(speed=speed, search_epochs=12, prior_macs=10**7)
    assert plan.trial_epochs(10**7) == 12
    assert plan.trial_epochs(10**6) == 24 and plan.trial_epochs(10**9) == 6
    for macs in (7 * 10**6, 13 * 10**6):
        seconds = plan.trial_epochs(macs) * speed.seconds_per_image(macs)
        assert seconds == pytest.approx(12 * speed.seconds_per_image(10**7), rel=0.06)
    equal = Plan.model_construct(speed=speed, search_epochs=12, prior_macs=None)
    assert equal.trial_epochs(10**6) == equal.trial_epochs(10**9) == 12


@pytest.mark.parametrize(("finalists", "times"), [(2, 4.5), (3, 9.0), (4, 9.0)])
def test_a_heat_has_the_recipe_of_the_training_that_it_is_run_for(
    finalists: int, times: float
) -> None:
    """Two workers train four folds in two rounds of nine tenths, heats in rounds of one tenth."""
    plan = Plan.model_construct(race_share=0.1, survivors=1, folds=4, final="bag", workers=2)
    assert plan.times_race(finalists=finalists) == pytest.approx(times)
