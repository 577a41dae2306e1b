"""A training repeats, can be interrupted, and resumes bit by bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spaces.recipe import Optimizer
from tests.training.harness import (
    assert_equal_trainings,
    candidate,
    curve,
    go_on,
    no_interrupt,
    run,
    training_of,
)
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.rows import Rows
from workers.training import Training


def test_equal_seeds_give_equal_trainings_and_others_do_not(few: Rows) -> None:
    made = candidate(augmentation="flip_shift_erase", mixup=0.4, dropout=0.3)
    one, same, other = (run(training_of(made, few, seed=seed)) for seed in (5, 5, 6))
    assert_equal_trainings(one, same)
    assert curve(one) != curve(other)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "recipe",
    [{}, {"augmentation": "flip_shift_erase", "mixup": 0.4}, {"skip": 0.75}],
    ids=["plain", "mixed and erased", "easy rows left out"],
)
def test_a_resumed_training_ends_where_the_undisturbed_one_does(
    few: Rows,
    tmp_path: Path,
    optimizer: Optimizer,
    recipe: dict[str, Any],
    channels_last: bool,
) -> None:
    rate = 0.05 if optimizer == "sgd" else 0.003
    made = candidate(
        optimizer=optimizer, learning_rate=rate, dropout=0.3, schedule="cosine", **recipe
    )
    plan = DevicePlan(channels_last=channels_last)
    undisturbed = run(training_of(made, few, plan=plan))

    class Killed(Exception):
        pass

    def save_and_die(training: Training, report: EpochReport) -> None:
        folder = tmp_path / "1"
        save_checkpoint(folder, training.state(), candidate=made, epoch=report.epoch)
        raise Killed

    for epoch in (1, 2):
        torch.rand(epoch)  # whatever else a new process draws
        training = training_of(made, few, plan=plan)
        loaded = load_checkpoint(tmp_path)
        if loaded is not None:
            training.restore(loaded[1])
        with pytest.raises(Killed):
            training.run(on_epoch=save_and_die, interrupt=no_interrupt)
        assert training.epoch == epoch
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None and loaded[0] == made
    resumed = training_of(made, few, plan=plan)
    resumed.restore(loaded[1])
    assert resumed.epoch == 2 and not resumed.finished
    assert_equal_trainings(run(resumed), undisturbed)


def test_a_training_restored_after_its_end_does_nothing_more(few: Rows) -> None:
    done = run(training_of(candidate(epochs=1), few))
    again = training_of(candidate(epochs=1), few)
    again.restore(done.state())
    assert again.finished
    run(again)
    assert curve(again) == curve(done)


def test_a_state_does_not_change_when_the_training_goes_on(few: Rows) -> None:
    training = training_of(candidate(epochs=2), few)
    states = []
    training.run(
        on_epoch=lambda training, _: states.append(training.state()), interrupt=no_interrupt
    )
    assert states[0].numbers["step"] == 6 and len(states[0].numbers["curve"]) == 1
    weights = [state.tensors["network.stem.0.weight"] for state in states]
    assert not torch.equal(*weights)
    json.dumps(states[0].numbers)


def test_an_interrupt_comes_before_the_next_step(few: Rows) -> None:
    training = training_of(candidate(), few)

    def interrupt() -> None:
        if training.schedule.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(on_epoch=go_on, interrupt=interrupt)
    assert training.schedule.step == 4 and training.curve == []


def test_a_validation_can_be_interrupted(few: Rows) -> None:
    training = training_of(candidate(epochs=1), few)

    def interrupt() -> None:
        if training.finished:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(on_epoch=go_on, interrupt=interrupt)
    assert training.finished and training.curve == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_restored_optimizer_keeps_the_layout_of_the_weights(
    few: Rows, optimizer: Optimizer
) -> None:
    made = candidate(optimizer=optimizer, epochs=2)
    plan = DevicePlan(channels_last=True)
    trained = run(Training(made, few, plan=plan, seed=0))
    restored = Training(made, few, plan=plan, seed=0)
    restored.restore(trained.state())
    compared = 0
    for parameter, entry in restored.optimizer.state.items():
        for value in entry.values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride()
                compared += parameter.dim() == 4 and parameter.shape[1] > 1
    assert compared
