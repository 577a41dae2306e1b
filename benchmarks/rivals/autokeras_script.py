"""AutoKeras as its documentation uses it: an image classifier that is given data and a callback.

It knows no time limit, so a callback ends the epoch that runs when the time is needed to predict,
and no trial starts after that. What needs a download (pretrained weights) or enlarges the images
to 224 pixels is left out of its space; for the rest its own first trials, its own defaults. Runs
in an environment of its own, on TensorFlow: with the same steps PyTorch took five times as long.
"""

import copy
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"  # read when keras is imported

import autokeras
import keras
import keras_tuner
import numpy as np
from autokeras.tuners.greedy import Greedy
from autokeras.tuners.task_specific import IMAGE_CLASSIFIER

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # it is run as a script

from benchmarks.rivals.task import Task, parser

END_SECONDS = 10.0  # to store the best model, load it, and end
SHORTEST_TRIAL = 15.0  # seconds; with less time left no trial is begun
PREDICTING = 0.4  # of a training step's time per image, to predict one
WARM_UP_STEPS = 3  # of an epoch, in which the graph is compiled
MAX_TRIALS = 1000  # far beyond the time
BLOCK, RESNET = "image_block_1", "image_block_1/res_net_block_1"


def time_to_predict(task: Task, *, pace: float) -> float:
    """Return the seconds for the held-out and the test images at a training's pace per image."""
    return PREDICTING * pace * (len(task.held_out_images) + len(task.test_images))


class Deadline(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training, in the middle of an epoch, when the time is needed to predict."""

    def __init__(self, task: Task, *, batch_size: int) -> None:
        super().__init__()
        self._task, self._batch_size = task, batch_size
        self._begin = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> "Deadline":
        """Copy all but the rows: the tuner copies its callbacks for every trial."""
        return copy.copy(self)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare what is left with what validation and test will take."""
        now = time.time()
        if batch < WARM_UP_STEPS:
            self._begin = now
            return
        images = (batch - WARM_UP_STEPS + 1) * self._batch_size
        needed = time_to_predict(self._task, pace=(now - self._begin) / images)
        if now > self._task.deadline - END_SECONDS - needed:
            self.model.stop_training = True


def tuner_until(deadline: float) -> type:
    """Return AutoKeras's tuner with two first trials that need no download, and an end."""
    plain, residual = IMAGE_CLASSIFIER[:2]
    first = [plain, {**residual, f"{RESNET}/imagenet_size": False}]

    class TunerWithEnd(Greedy):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(initial_hps=first, **options)

        def pre_create_trial(self) -> None:
            if self.oracle.trials and time.time() > deadline - END_SECONDS - SHORTEST_TRIAL:
                self.oracle.max_trials = len(self.oracle.trials)

    return TunerWithEnd


def offline_space() -> Any:
    """Return the choices that are made in advance, under the names of AutoKeras."""
    space = keras_tuner.HyperParameters()
    space.Choice(f"{BLOCK}/block_type", ["vanilla", "resnet"])
    with space.conditional_scope(f"{BLOCK}/block_type", ["resnet"]):
        space.Fixed(f"{RESNET}/pretrained", False)
        space.Fixed(f"{RESNET}/imagenet_size", False)
    return space


def main() -> None:
    """Search until the deadline is near; predict with the best model."""
    task = Task.of(parser("AutoKeras: image classifier").parse_args())
    keras.utils.set_random_seed(task.seed)
    classifier = autokeras.ImageClassifier(
        max_trials=MAX_TRIALS,
        tuner=tuner_until(task.deadline),
        hyperparameters=offline_space(),
        directory=task.out,
        seed=task.seed,
    )
    classifier.fit(
        task.train_images,
        task.train_labels,
        validation_data=(task.held_out_images, task.held_out_labels),
        callbacks=[Deadline(task, batch_size=32)],  # 32 is what `fit` takes by default
        verbose=2,
    )
    trials = list(classifier.tuner.oracle.trials.values())
    classes = classifier.predict(task.test_images, verbose=0)
    task.answer(
        np.ravel(classes).astype(np.int64),
        trials=len(trials),
        validation_loss=min(trial.score for trial in trials if trial.score is not None),
        versions={"autokeras": autokeras.__version__, "keras": keras.__version__},
    )


if __name__ == "__main__":
    main()
