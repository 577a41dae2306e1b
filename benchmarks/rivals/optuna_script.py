"""Optuna as its tutorials use it: TPE, median pruning, and a PyTorch training as the objective.

One process with torch's own number of threads. Each epoch is validated and reported; the best
weights of the study are kept and predict the test images once, at the end.
"""

import copy
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import nn
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # it is run as a script

from benchmarks.rivals.task import EPOCHS, Task, parser
from benchmarks.rivals.their_space import (
    ADAMW_RATE,
    BATCH_SIZE,
    DEPTH,
    DROPOUT,
    KERNEL,
    OPTIMIZER,
    SCHEDULE,
    SGD_RATE,
    STAGES,
    WEIGHT_DECAY,
    WIDTH,
    Config,
    Net,
    make_optimizer,
    predict,
    train_loader,
)
from benchmarks.tutorial import steps

END_SECONDS = 4.0  # to start the loaders that predict, and to end
WARM_UP_STEPS = 3  # of an epoch, in which the loader's workers start
PREDICTING = 0.4  # of a training step's time per image, to predict one


def suggest(trial: optuna.Trial) -> Config:
    """Sample a configuration."""
    return {
        "stages": trial.suggest_int("stages", *STAGES),
        "depth": trial.suggest_int("depth", *DEPTH),
        "width": trial.suggest_categorical("width", WIDTH),
        "kernel": trial.suggest_categorical("kernel", KERNEL),
        "dropout": trial.suggest_float("dropout", *DROPOUT),
        "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZE),
        "optimizer": trial.suggest_categorical("optimizer", OPTIMIZER),
        "sgd_rate": trial.suggest_float("sgd_rate", *SGD_RATE, log=True),
        "adamw_rate": trial.suggest_float("adamw_rate", *ADAMW_RATE, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
        "schedule": trial.suggest_categorical("schedule", SCHEDULE),
    }


class Objective:
    """Trains what a trial suggests and returns its last validation accuracy.

    Attributes:
        best: the study's best network so far, None before the first validation.
        epochs: validated in all trials; one that the deadline cut short counts.
    """

    def __init__(self, task: Task) -> None:
        self.best: nn.Module | None = None
        self.best_accuracy = -1.0
        self.epochs = 0
        self._task = task
        self._test_seconds = 0.0  # that the best network will take

    def __call__(self, trial: optuna.Trial) -> float:
        """Train for some epochs, or until the deadline is near."""
        task, config = self._task, suggest(trial)
        network = Net(config)
        optimizer, schedule = make_optimizer(network, config)
        batches = train_loader(
            task.train_images, task.train_labels, batch_size=config["batch_size"]
        )
        accuracy = 0.0
        for epoch in range(EPOCHS):
            time_is_left = self._train_epoch(network, batches, optimizer)
            accuracy = self._validate(network)
            if not time_is_left:
                trial.study.stop()
                break
            if schedule is not None:
                schedule.step()
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    def _train_epoch(
        self, network: nn.Module, batches: DataLoader[Any], optimizer: torch.optim.Optimizer
    ) -> bool:
        """Train over the loader once; stop and return False when the time is needed to predict."""
        task, begin, images = self._task, 0.0, 0
        for step, count in enumerate(steps(network, batches, optimizer)):
            now = time.time()
            if step < WARM_UP_STEPS:
                begin = now
                continue
            images += count
            pace = PREDICTING * (now - begin) / images
            validation = pace * len(task.held_out_images)
            test = self._test_seconds or pace * len(task.test_images)
            if now > task.deadline - END_SECONDS - validation - test:
                return False
        return True

    def _validate(self, network: nn.Module) -> float:
        """Return the accuracy on the held-out rows; keep the network if it is the best so far."""
        task, begin = self._task, time.time()
        classes = predict(network, task.held_out_images)
        accuracy = float((classes == task.held_out_labels).mean())
        self.epochs += 1
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best = accuracy, copy.deepcopy(network)
            pace = (time.time() - begin) / len(classes)
            self._test_seconds = pace * len(task.test_images)
        return accuracy


def main() -> None:
    """Search until the deadline is near; predict with the best network."""
    task = Task.of(parser("Optuna: TPE and median pruning").parse_args())
    torch.manual_seed(task.seed)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=task.seed),
        pruner=optuna.pruners.MedianPruner(),
    )
    objective = Objective(task)
    study.optimize(objective, timeout=task.deadline - END_SECONDS - time.time())
    assert objective.best is not None, "the first trial is validated, however short it is"
    task.answer(
        predict(objective.best, task.test_images),
        trials=len(study.trials),
        epochs=objective.epochs,
        validation_accuracy=objective.best_accuracy,
        versions={"optuna": optuna.__version__, "torch": torch.__version__},
    )


if __name__ == "__main__":
    main()
