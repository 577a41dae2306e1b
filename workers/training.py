"""Train one candidate on given rows, epoch by epoch. Knows neither Optuna nor SQL."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search.metrics import METRICS, Metric
from search.plan import COOLDOWN
from spaces.architecture import VIEW_COUNTS
from spaces.network import build_network
from spaces.recipe import Candidate
from workers.averaging import WeightAverage
from workers.batches import Batch, Batches, Normalisation
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.evaluation import loss_and_accuracy, predict
from workers.optimization import make_optimizer, set_rate
from workers.pretrained import freeze, load_pretrained
from workers.rows import Rows
from workers.schedule import Schedule
from workers.selected import Images
from workers.stepping import Stepper
from workers.targets import TargetScale
from workers.training_state import (
    TrainingState,
    copies,
    load_optimizer_state,
    load_random_state,
    optimizer_state,
    random_state,
)
from workers.whitening import fit_whitening

DEADLINE_CHECK_STEPS = 8  # how often a training with a deadline predicts its own end,
DEADLINE_CHECK_ON_GPU = 64  # steps there, which is waited for,
DEADLINE_CHECK_SECONDS = 1.0  # or, where steps are slow, after this time


class Diverged(Exception):
    """The loss or a prediction is no longer a finite number."""


OnEpoch = Callable[["Training", EpochReport], None]


class Training:
    """One network under training; `run` goes on from wherever it is.

    With equal candidate, rows, plan and seed, two trainings on one CPU thread give equal
    numbers, also when one of them was stopped between epochs and restored from its state.

    Args:
        plan: how to compute the training.
        metric: by which the validations' scores are measured.
        rung: the epoch after which weak trainings are discarded. Its validation is that of a
            branch in which the rate falls to zero, so that trainings are not judged by how well
            they bear a high rate; then the training goes on from before the branch.
        evaluation: how to compute predictions; as the training by default.
        validate_every: epochs from one validation to the next; None leaves only the rung's and
            the last one, which there are in any case.
        pieces: into which each batch is cut from the start, to save memory.
        clock: tells seconds, by which epochs and validations are timed.
    """

    def __init__(
        self,
        candidate: Candidate,
        rows: Rows,
        *,
        plan: DevicePlan,
        seed: int,
        metric: Metric = METRICS["accuracy"],
        evaluation: DevicePlan | None = None,
        validate_every: int | None = 1,
        rung: int | None = None,
        pieces: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self.candidate, self.rows, self.plan = candidate, rows, plan
        self.metric = metric
        self.evaluation = evaluation or plan
        self.validate_every = validate_every
        self.rung = rung
        recipe = candidate.recipe
        network = build_network(
            candidate.architecture,
            channels=rows.train_images.shape[-1],
            classes=rows.classes,
            dropout=recipe.dropout,
            stochastic_depth=recipe.stochastic_depth,
            seed=seed,
        )
        if recipe.weights is not None:
            load_pretrained(network, recipe.weights)
        self._frozen = freeze(network, parts=recipe.frozen)
        self.scale = TargetScale.of(rows.train_labels)
        self.batches = Batches(
            rows.train_images,
            rows.learnt_labels(self.scale),
            recipe=recipe,
            seed=seed,
            device=plan.torch_device,
        )
        if candidate.architecture.stem.kind == "whitening":
            fit_whitening(network, rows.train_images, normalisation=self.normalisation)
        self.network = plan.place(network)
        self.optimizer = make_optimizer(self.network, recipe)
        self.stepper = Stepper(
            self.network,
            self.optimizer,
            recipe=recipe,
            plan=plan,
            losses=self.batches.row_losses,
            class_weights=self._class_weights(),
            pieces=pieces,
        )
        averages = recipe.averaging != "none"
        self.average = WeightAverage(self.network, recipe.averaging) if averages else None
        self.schedule = Schedule(recipe, steps_per_epoch=self.batches.per_epoch)
        self.curve: list[EpochReport] = []
        self.validation_probabilities: NDArray[np.float32] | None = None
        torch.manual_seed(seed)

    def _class_weights(self) -> Tensor | None:
        """Return weights (classes,) of the losses; None: all rows count the same."""
        if self.candidate.recipe.class_weights == "none" or self.scale is not None:
            return None
        weights = self.rows.class_weights()
        return torch.tensor(weights, dtype=torch.float32, device=self.plan.torch_device)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.curve)

    @property
    def pace(self) -> float:
        """Seconds to train on an image, over all epochs so far; the longest ones weigh most.

        On a GPU the first epoch counts only if there is no other: kernels are chosen and recorded
        in it, which takes as long as many steps.
        """
        counted = self.curve[1:] if self.plan.on_gpu and self.epoch > 1 else self.curve
        seconds = sum(report.train_seconds for report in counted)
        return seconds / sum(report.images for report in counted)

    @property
    def seconds(self) -> float:
        """Time of all epochs so far, validations apart."""
        return sum(report.train_seconds for report in self.curve)

    @property
    def next_epoch_seconds(self) -> float:
        """Seconds that the next epoch takes, with its validation, if it is as slow as any so far.

        Predicting an image is taken to last as long as to train on it until it has been measured.
        """
        seconds = max(report.train_seconds for report in self.curve)
        if self.epoch + 1 == self.rung:
            seconds += COOLDOWN * (self.seconds + seconds)
        measured = [report.validation_seconds or 0.0 for report in self.curve]
        views = VIEW_COUNTS[self.candidate.architecture.views]
        predicted = views * len(self.rows.validation_labels) * self.pace
        return seconds + (max(measured) or predicted)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.schedule.finished

    @property
    def normalisation(self) -> Normalisation:
        """Fitted on the training rows alone."""
        return self.batches.normalisation

    def run(
        self,
        *,
        on_epoch: OnEpoch,
        interrupt: Callable[[], None],
        seconds_left: Callable[[], float] | None = None,
    ) -> None:
        """Train until all steps are done; whatever a callable raises passes through.

        Args:
            on_epoch: called after each epoch; may raise to stop.
            interrupt: called before each step and each batch of a validation; may raise to stop
                at once.
            seconds_left: if given, the schedule is shortened so that the last step ends,
                with its rate annealed, before this reaches zero; validation comes on top.

        Raises:
            Diverged: the loss or the predictions are not finite.
        """
        while not self.finished:
            report = self._train_epoch(interrupt, seconds_left)
            self.curve.append(report)
            on_epoch(self, report)

    def _train_epoch(
        self, interrupt: Callable[[], None], seconds_left: Callable[[], float] | None
    ) -> EpochReport:
        self._set_mode()
        self.stepper.sums.clear()
        begin = self._clock()
        looked, end = begin, (self.epoch + 1) * self.batches.per_epoch
        while self.schedule.step < end and not self.finished:
            for batch in self._one_pass():
                interrupt()
                self.take_step(batch)
                if seconds_left is not None and self._looks(since=looked):
                    self.plan.wait()  # or steps would count that have only been asked for
                    looked = self._clock()
                    self._fit_to(seconds_left(), self.stepper.sums.images, looked - begin)
                if self.finished:
                    break
        return self._report(begin, interrupt)

    def _one_pass(self) -> Iterator[Batch]:
        """Return the batches of the next pass, as the schedule wants them."""
        schedule = self.schedule
        return self.batches.one_pass(whole=schedule.leaves_no_row_out, augment=schedule.augments)

    def _looks(self, *, since: float) -> bool:
        """Whether it is time to predict the end of a training with a deadline again."""
        late = self._clock() - since > DEADLINE_CHECK_SECONDS
        steps = DEADLINE_CHECK_ON_GPU if self.plan.on_gpu else DEADLINE_CHECK_STEPS
        return late or self.schedule.step % steps == 0

    def _set_mode(self) -> None:
        """Set all to be trained but what is frozen, whose norms' statistics stay, too."""
        self.network.train()
        for part in self._frozen:
            part.eval()

    def take_step(self, batch: Batch) -> None:
        """Train on one batch at the schedule's rate."""
        schedule = self.schedule
        self._step(batch, factor=schedule.rate_factor())
        schedule.step += 1
        if self.average is not None:
            self.average.update(step=schedule.step, total_steps=schedule.total_steps)

    def _step(self, batch: Batch, *, factor: float) -> None:
        """Take a step at so many times the recipe's learning rate."""
        set_rate(self.optimizer, self.candidate.recipe.learning_rate * factor)
        self.stepper.step(batch)

    def _fit_to(self, seconds_left: float, images: int, seconds: float) -> None:
        """Let the training end in time, at the pace of all epochs and of what this one has done."""
        images += sum(epoch.images for epoch in self.curve)
        steps = images / self.batches.size
        self.schedule.fit_to(seconds_left, steps=steps, seconds=seconds + self.seconds)

    def _report(self, begin: float, interrupt: Callable[[], None]) -> EpochReport:
        sums = self.stepper.sums
        train_loss = float(sums.loss / sums.weight)
        if not math.isfinite(train_loss):
            raise Diverged(f"the training loss of epoch {self.epoch + 1} is {train_loss}")
        report = EpochReport(
            epoch=self.epoch + 1,
            images=sums.images,
            train_loss=train_loss,
            train_accuracy=float(sums.correct / sums.weight) if self.scale is None else None,
            train_seconds=self._clock() - begin,
        )
        if report.epoch == self.rung and not self.finished:
            before = self.state()
            self._cool_down(interrupt)
            report = self._validated(report, interrupt, average=False)
            pieces = self.stepper.pieces
            self.restore(before)
            self.stepper.pieces = pieces  # memory that was short in the branch is short after it
            return report
        if self.finished or (self.validate_every and report.epoch % self.validate_every == 0):
            return self._validated(report, interrupt, average=True)
        return report

    def _cool_down(self, interrupt: Callable[[], None]) -> None:
        """Train on for a part of the time so far, in which the rate falls to zero."""
        self._set_mode()
        steps = max(1, round(COOLDOWN * self.schedule.step))
        factor = self.schedule.rate_factor()
        # a pass may be short, as it leaves rows out
        batches = (batch for _ in itertools.count() for batch in self._one_pass())
        for index, batch in zip(range(steps), batches, strict=False):
            interrupt()
            self._step(batch, factor=factor * (1.0 - (index + 0.5) / steps))

    def _validated(
        self, report: EpochReport, interrupt: Callable[[], None], *, average: bool
    ) -> EpochReport:
        """Add the validation's figures, predicted by the averaged weights or the present ones."""
        begin = self._clock()
        with self._predicting_weights() if average else nullcontext():
            probabilities = predict(
                self.network,
                self.rows.validation_images,
                normalisation=self.normalisation,
                scale=self.scale,
                plan=self.evaluation,
                interrupt=interrupt,
            )
        if not np.isfinite(probabilities).all():
            raise Diverged(f"the predictions of epoch {report.epoch} are not finite")
        self.validation_probabilities = probabilities
        labels = self.rows.validation_labels
        loss, accuracy = loss_and_accuracy(labels, probabilities, scale=self.scale)
        score = self.metric.score(labels, probabilities)
        if not math.isfinite(score) and len(np.unique(labels)) > 1:  # of one class there is none
            raise Diverged(f"the {self.metric.label} of epoch {report.epoch} is {score}")
        return replace(
            report,
            validation_loss=loss,
            validation_accuracy=accuracy,
            validation_score=score,
            validation_seconds=self._clock() - begin,
        )

    def predict(self, images: Images, plan: DevicePlan) -> NDArray[np.float32]:
        """Return probabilities (rows, classes) for uint8 images, computed as `plan` says.

        Numbers (rows, 1) where these are learnt.
        """
        with self._predicting_weights():
            return predict(
                self.network,
                images,
                normalisation=self.normalisation,
                scale=self.scale,
                plan=plan,
            )

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the weights and buffers that predict: averages, if there are any."""
        with self._predicting_weights():
            return copies(self.network.state_dict())

    def _predicting_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self.average is None else self.average.in_place()

    def state(self) -> TrainingState:
        """Return a copy of all that the rest of the training depends on."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        optimizer_tensors, optimizer_numbers = optimizer_state(self.optimizer)
        tensors |= optimizer_tensors
        if self.average is not None:
            tensors |= {f"average.{i}": v for i, v in enumerate(self.average.tensors)}
        if self.batches.row_losses is not None:
            tensors["losses"] = self.batches.row_losses.losses
        return TrainingState(
            tensors=copies(tensors | random_state(self.plan.torch_device)),
            numbers={
                "step": self.schedule.step,
                "total_steps": self.schedule.total_steps,
                "pieces": self.stepper.pieces,
                "curve": [asdict(report) for report in self.curve],
                "optimizer": optimizer_numbers,
                "batches": self.batches.state(),
            },
        )

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`, taken by an equal training between two epochs."""
        prefix = "network."
        weights = {
            k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)
        }
        self.network.load_state_dict(weights)
        load_optimizer_state(self.optimizer, {**state.tensors, **state.numbers["optimizer"]})
        if self.average is not None:
            count = len(self.average.tensors)
            self.average.restore([state.tensors[f"average.{i}"] for i in range(count)])
        if self.batches.row_losses is not None:
            self.batches.row_losses.losses.copy_(state.tensors["losses"])
        self.schedule.step = int(state.numbers["step"])
        self.schedule.total_steps = int(state.numbers["total_steps"])
        self.stepper.pieces = int(state.numbers["pieces"])
        self.curve = [EpochReport(**report) for report in state.numbers["curve"]]
        self.batches.restore(state.numbers["batches"])
        load_random_state(self.plan.torch_device, state.tensors)
