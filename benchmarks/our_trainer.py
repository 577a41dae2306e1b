"""Our trainer under a search that is not ours, over our space.

`--search random` samples at random and prunes nothing; `--search tpe` is what Optuna's users take,
TPE and median pruning. Two processes of one thread each share a study in SQLite. A trial has the
rows and epochs of the Optuna script, and its widths: wider networks would take all the time. No
prior is enqueued, no other limit is set, nothing is folded.
The weights with the best validation accuracy predict the test images once, at the end.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from athanor.places import Places
from benchmarks.rivals.task import CLASSES, EPOCHS, WIDTHS, Task, parser
from benchmarks.side_by_side import side_by_side
from search.seeds import derived_seed
from spaces.architecture import VIEW_COUNTS
from spaces.cnn import CnnSpace
from spaces.network import build_network
from spaces.recipe import Candidate
from workers import evaluation
from workers.batches import Normalisation
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.host_speed import host_speed
from workers.rows import Rows
from workers.training import Diverged, Training

PROCESSES = 2
END_SECONDS = 6.0  # to end the processes and build the best network again
WARM_UP_STEPS = 4  # of a training, before its pace is believed
PASSES_OF_A_STEP = 3  # forward passes that a training step costs
STUDY = "study"
SPACE = CnnSpace(width=WIDTHS)


@dataclass(frozen=True, slots=True)
class Share:
    """One process's part of a search."""

    worker: int
    search: str
    storage: str
    plan: DevicePlan
    task: Task

    @property
    def weights(self) -> Path:
        """Where the process keeps the best weights that it has trained."""
        return self.task.out / f"best-{self.worker}.safetensors"


@dataclass(frozen=True, slots=True)
class Best:
    """The best network of a process."""

    accuracy: float
    candidate: Candidate
    normalisation: Normalisation
    weights: Path


class Clock:
    """Ends a training so that the validation and the test come in time."""

    def __init__(self, task: Task, training: Training) -> None:
        self._task, self._training = task, training
        self._begin, self._first_step = time.time(), 0

    def before_step(self) -> None:
        """Measure the pace from the first steps' end; once the time is up, make this step the last.

        A training shortens its own schedule, but looks at the time every few steps only, and a
        step of the largest networks takes seconds.
        """
        if self._training.schedule.step <= WARM_UP_STEPS:
            self._begin, self._first_step = time.time(), self._training.schedule.step
        if self.seconds_left() <= 0.0 and not self._training.finished:  # validations ask as well
            self._training.schedule.total_steps = self._training.schedule.step + 1

    def seconds_left(self) -> float:
        """Return the seconds that are left to train."""
        now, task = time.time(), self._task
        images = (self._training.schedule.step - self._first_step) * self._training.batches.size
        pace = (now - self._begin) / max(images, 1)
        views = VIEW_COUNTS[self._training.candidate.architecture.views]
        predictions = len(task.held_out_images) + len(task.test_images)
        needed = predictions * pace * views / PASSES_OF_A_STEP
        return task.deadline - END_SECONDS - needed - now


class Objective:
    """Trains what a trial suggests; keeps the weights of the best epoch of all."""

    def __init__(self, share: Share) -> None:
        self.best: Best | None = None
        self._share = share
        task = share.task
        self._rows = Rows(
            task.train_images,
            task.train_labels,
            task.held_out_images,
            task.held_out_labels,
            CLASSES,
        )

    def __call__(self, trial: optuna.Trial) -> float:
        """Train for some epochs, or until the deadline is near."""
        share = self._share
        side = min(share.task.train_images.shape[1:3])
        candidate = SPACE.suggest(trial, side=side, epochs=EPOCHS)
        seed = derived_seed(share.task.seed, "trial", trial.number)
        training = Training(candidate, self._rows, plan=share.plan, seed=seed)
        clock = Clock(share.task, training)

        def on_epoch(training: Training, report: EpochReport) -> None:
            assert report.validation_accuracy is not None
            self._keep(training, report.validation_accuracy)
            trial.report(report.validation_accuracy, report.epoch)
            if trial.should_prune() and not training.finished:
                raise optuna.TrialPruned

        training.run(
            on_epoch=on_epoch, interrupt=clock.before_step, seconds_left=clock.seconds_left
        )
        if clock.seconds_left() <= 0.0:
            trial.study.stop()
        return training.curve[-1].validation_accuracy or 0.0

    def _keep(self, training: Training, accuracy: float) -> None:
        if self.best is None or accuracy > self.best.accuracy:
            path = self._share.weights
            save_file(training.weights(), path)
            self.best = Best(accuracy, training.candidate, training.normalisation, path)


def sampler_and_pruner(
    search: str, *, seed: int
) -> tuple[optuna.samplers.BaseSampler, optuna.pruners.BasePruner]:
    """Return what a search consists of."""
    if search == "random":
        return optuna.samplers.RandomSampler(seed=seed), optuna.pruners.NopPruner()
    return optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner()


def work(share: Share) -> Best | None:
    """Run trials until the deadline is near; return the best network of this process."""
    seed = derived_seed(share.task.seed, "sampler", share.worker)
    sampler, pruner = sampler_and_pruner(share.search, seed=seed)
    study = optuna.load_study(
        study_name=STUDY, storage=share.storage, sampler=sampler, pruner=pruner
    )
    objective = Objective(share)
    timeout = share.task.deadline - END_SECONDS - time.time()
    study.optimize(objective, timeout=timeout, catch=(Diverged,))
    return objective.best


def predict(best: Best, task: Task, plan: DevicePlan) -> Any:
    """Return the class of each test image."""
    architecture = best.candidate.architecture
    network = build_network(architecture, channels=task.test_images.shape[-1], classes=CLASSES)
    network.load_state_dict(load_file(best.weights))
    probabilities = evaluation.predict(
        plan.place(network), task.test_images, normalisation=best.normalisation, plan=plan
    )
    return probabilities.argmax(1)


def main() -> None:
    """Search in two processes, predict with the better one's best network."""
    options = parser("Our trainer under a plain search")
    options.add_argument("--search", choices=("random", "tpe"), required=True)
    chosen = options.parse_args()
    task = Task.of(chosen)
    torch.set_num_threads(1)  # as the processes that train, and as the probe that is remembered
    _, plan = host_speed(
        cache=Places.of(None, None).cache, progress=lambda text: print(text, file=sys.stderr)
    )
    storage = f"sqlite:///{task.out.absolute()}/study.db"
    study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize")
    shares = [Share(worker, chosen.search, storage, plan, task) for worker in range(PROCESSES)]
    found = [best for _, best in side_by_side(work, shares, processes=PROCESSES) if best]
    best = max(found, key=lambda each: each.accuracy)
    trials = study.get_trials()
    torch.set_num_threads(PROCESSES)
    task.answer(
        predict(best, task, plan),
        trials=len(trials),
        epochs=sum(len(trial.intermediate_values) for trial in trials),
        validation_accuracy=best.accuracy,
        candidate=best.candidate.to_json(),
    )


if __name__ == "__main__":
    main()
