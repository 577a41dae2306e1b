"""A training keeps to its time: its schedule is shortened to an annealed end."""

import math
from time import perf_counter

import pytest

from spaces.recipe import Schedule
from tests.training.harness import assert_equal_trainings, candidate, go_on, run, training_of
from workers.rows import Rows
from workers.training import Training

STEP_SECONDS = 1000.0  # of the clock that tests turn; what really passes is nothing against it


def turn_clock(monkeypatch: pytest.MonkeyPatch, training: Training) -> None:
    """Let each step of the running epoch take `STEP_SECONDS`."""

    def clock() -> float:
        steps = training.schedule.step - training.epoch * training.batches.per_epoch
        return perf_counter() + steps * STEP_SECONDS

    monkeypatch.setattr(training, "_clock", clock)


@pytest.mark.parametrize("schedule", ["triangular", "cosine"])
@pytest.mark.parametrize("end", [20, 40, 57])
def test_a_deadline_shortens_the_schedule_to_its_annealed_end(
    few: Rows, monkeypatch: pytest.MonkeyPatch, schedule: Schedule, end: int
) -> None:
    training = training_of(candidate(schedule=schedule, batch_size=10), few)
    assert training.schedule.total_steps == 60
    turn_clock(monkeypatch, training)
    run(training, seconds_left=lambda: (end + 0.9 - training.schedule.step) * STEP_SECONDS)
    assert (
        training.finished
        and end - 2 <= training.schedule.total_steps == training.schedule.step <= end
    )
    rates = [group["lr"] for group in training.optimizer.param_groups]
    assert 0.0 < max(rates) < 0.04 * training.candidate.recipe.learning_rate
    assert training.curve[-1].validation_accuracy is not None
    assert sum(report.images for report in training.curve) == 10 * training.schedule.step


def run_within(training: Training, left: list[float], *, planned: int) -> set[int]:
    """Train with these steps' time left at each check, then the last; return all plans seen."""
    totals: set[int] = set()
    times = iter(left)

    def note() -> None:
        assert training.schedule.step <= planned, "the training goes on beyond its plan"
        totals.add(training.schedule.total_steps)

    def seconds_left() -> float:
        return next(times, left[-1]) * STEP_SECONDS

    training.run(on_epoch=go_on, interrupt=note, seconds_left=seconds_left)
    return totals


def test_time_in_plenty_extends_nothing(few: Rows) -> None:
    training = training_of(candidate(batch_size=10), few)
    assert run_within(training, [1e9], planned=60) == {60}
    assert training.schedule.step == 60
    assert_equal_trainings(training, run(training_of(candidate(batch_size=10), few)))


def test_what_a_slow_stretch_cut_is_given_back_up_to_the_plan(
    few: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.training.DEADLINE_CHECK_SECONDS", math.inf)
    monkeypatch.setattr("workers.schedule.MIN_PACE_SECONDS", math.inf)
    training = training_of(candidate(batch_size=10), few)
    turn_clock(monkeypatch, training)
    # The checks are at steps 8, 16, 24, ...; the first comes too early for a pace to be believed.
    assert run_within(training, [1.0, 12.5, 20.5, 100.0], planned=60) == {60, 28, 44}
    assert training.schedule.step == 60


def test_a_training_of_a_few_slow_steps_keeps_to_its_time(
    few: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(candidate(batch_size=96, epochs=6), few)
    assert training.schedule.total_steps == 12
    turn_clock(monkeypatch, training)
    run(training, seconds_left=lambda: (5.9 - training.schedule.step) * STEP_SECONDS)
    assert training.finished and 4 <= training.schedule.step <= 5


def test_without_any_time_left_the_training_ends_and_is_validated(few: Rows) -> None:
    training = run(training_of(candidate(batch_size=10), few), seconds_left=lambda: -1.0)
    assert training.schedule.step == 8 and len(training.curve) == 1
    assert training.curve[0].validation_accuracy is not None


def test_an_end_that_is_kept_is_moved_no_more(few: Rows) -> None:
    schedule = training_of(candidate(batch_size=10), few).schedule
    schedule.step = 20
    schedule.fit_to(1.0, steps=20, seconds=2.0)
    cut = schedule.total_steps
    assert 20 < cut < 60
    schedule.fit_to(100.0, steps=20, seconds=2.0)
    assert schedule.total_steps == 60  # what was cut is given back,
    schedule.fit_to(1.0, steps=20, seconds=2.0)
    schedule.keep_length()
    schedule.fit_to(100.0, steps=20, seconds=2.0)
    assert schedule.total_steps == cut  # but not to a training that was interrupted
    schedule.fit_to(0.0, steps=20, seconds=2.0)
    assert schedule.total_steps == 20
