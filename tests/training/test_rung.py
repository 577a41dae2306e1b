"""A rung judges a branch of the training, and leaves the training alone."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.training.harness import assert_equal_trainings, candidate, curve, go_on, run, training_of
from workers.batches import Batch
from workers.epoch_report import EpochReport
from workers.rows import Rows


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"averaging": "ema"},
        {"averaging": "lookahead"},
        {"optimizer": "adamw", "learning_rate": 0.006},
        {"mixup": 0.3},
        {"skip": 0.5},
        {"sampling": "balanced"},
    ],
    ids=str,
)
def test_a_rung_judges_a_branch_and_leaves_the_training_alone(
    few: Rows, recipe: dict[str, Any]
) -> None:
    usual = {"augmentation": "flip_shift", "dropout": 0.3, "learning_rate": 0.2}
    made = candidate(**{**usual, **recipe})
    judged, plain = run(training_of(made, few, rung=1)), run(training_of(made, few))
    assert curve(judged)[1:] == curve(plain)[1:]
    first, same = judged.curve[0], plain.curve[0]
    assert first.train_loss == same.train_loss
    assert first.validation_loss != same.validation_loss
    judged.curve = plain.curve = []  # equal but for the rung's validation
    assert_equal_trainings(judged, plain)


@pytest.mark.parametrize(("rung", "branch"), [(None, 0), (1, 2), (2, 3)])
def test_a_branch_takes_a_quarter_of_the_steps_so_far(
    rung: int | None, branch: int, few: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(candidate(), few, rung=rung)
    step, taken = training.stepper.step, []

    def counted(batch: Batch) -> None:
        taken.append(batch)
        step(batch)

    monkeypatch.setattr(training.stepper, "step", counted)
    run(training)
    assert training.schedule.step == 18  # three epochs of six
    assert len(taken) == 18 + branch


def test_the_last_epoch_needs_no_branch(few: Rows) -> None:
    made = candidate(epochs=1)
    assert_equal_trainings(run(training_of(made, few, rung=1)), run(training_of(made, few)))


def test_a_branch_can_be_interrupted(few: Rows) -> None:
    steps = len(few.train_labels) // 32

    class Stop(Exception):
        pass

    calls = iter(range(10**6))

    def interrupt() -> None:
        if next(calls) == steps + 1:  # the second step of the branch
            raise Stop

    training = training_of(candidate(), few, rung=1)
    with pytest.raises(Stop):
        training.run(on_epoch=go_on, interrupt=interrupt)
    assert training.curve == []


def test_pieces_that_a_branch_needed_stay(few: Rows) -> None:
    training = training_of(candidate(), few, rung=1)
    calls = iter(range(10**6))

    def forward(*_: object) -> None:
        if next(calls) == training.batches.per_epoch + 1:  # the second step of the branch
            raise RuntimeError("out of memory")

    training.network.register_forward_pre_hook(forward)
    run(training)
    assert training.stepper.pieces == 2


def test_the_next_epoch_lasts_with_its_branch_and_validation(few: Rows) -> None:
    training = training_of(candidate(epochs=4), few, rung=2)
    count = len(few.train_labels)
    first = EpochReport(
        epoch=1, images=count, train_loss=1.0, train_accuracy=0.1, train_seconds=8.0
    )
    training.curve = [first]
    predicted = len(few.validation_labels) / count * 8.0  # of one view
    assert training.next_epoch_seconds == pytest.approx(8.0 + 0.25 * 16.0 + predicted)
    training.curve = [first, replace(first, epoch=2, train_seconds=9.0, validation_seconds=3.0)]
    assert training.next_epoch_seconds == pytest.approx(9.0 + 3.0)


@pytest.mark.parametrize("until", [0.0, 1.0])
def test_a_rung_is_judged_on_images_as_the_training_sees_them(
    few: Rows, monkeypatch: pytest.MonkeyPatch, until: float
) -> None:
    training = training_of(candidate(augment_until=until, epochs=2), few, rung=1)
    draw, augmented = training.batches.one_pass, set()

    def one_pass(*, whole: bool = False, augment: Callable[[], bool]) -> Iterator[Batch]:
        augmented.add(augment())
        return draw(whole=whole, augment=augment)

    monkeypatch.setattr(training.batches, "one_pass", one_pass)
    run(training)
    assert augmented == {until == 1.0}
