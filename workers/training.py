"""Train one candidate on given rows, epoch by epoch. Knows neither Optuna nor SQL."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spaces.network import build_network
from spaces.recipe import Candidate
from workers.batches import Batch, Batches, Normalisation
from workers.device import DevicePlan
from workers.evaluation import predict_probabilities
from workers.optimization import learning_rate_factor, make_optimizer

DEADLINE_CHECK_STEPS = 8  # how often a training with a deadline predicts its own end
MIN_PACE_STEPS = 16  # steps before a measured pace is believed
RESERVED_SHARE = 0.02  # of the time left, kept for steps that turn out slower than the last ones
MIN_LIKELIHOOD = 1e-12  # keeps the loss of a class that was given no probability finite


class Diverged(Exception):
    """The loss or a prediction is no longer a finite number."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a training sees: uint8 images (n, height, width, channels) and labels (n,)."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    classes: int


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch gave. Accuracies are shares; the training's is over augmented images.

    The validation's figures are None after an epoch that was not validated.
    """

    epoch: int
    images: int
    train_loss: float
    train_accuracy: float
    train_seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_seconds: float | None = None


@dataclass(slots=True)
class TrainingState:
    """All that a checkpoint must hold to go on exactly: tensors, and numbers as JSON."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


@dataclass(slots=True)
class _EpochSums:
    """Sums over an epoch, kept on the device so that no step waits for it."""

    loss: Tensor
    correct: Tensor
    images: int = 0
    begin: float = field(default_factory=time.perf_counter)


OnEpoch = Callable[["Training", EpochReport], None]


class Training:
    """One network under training; `run` goes on from wherever it is.

    With equal candidate, rows, plan and seed, two trainings on one CPU thread give equal
    numbers, also when one of them was stopped between epochs and restored from its state.

    Args:
        plan: how to compute the training.
        evaluation: how to compute predictions; as the training by default.
        validate_each_epoch: otherwise only the last epoch is validated.
    """

    def __init__(
        self,
        candidate: Candidate,
        rows: Rows,
        *,
        plan: DevicePlan,
        seed: int,
        evaluation: DevicePlan | None = None,
        validate_each_epoch: bool = True,
    ) -> None:
        self.candidate, self.rows, self.plan = candidate, rows, plan
        self.evaluation = evaluation or plan
        self.validate_each_epoch = validate_each_epoch
        recipe = candidate.recipe
        network = build_network(
            candidate.architecture,
            channels=rows.train_images.shape[-1],
            classes=rows.classes,
            dropout=recipe.dropout,
            seed=seed,
        )
        self.network = plan.place(network)
        self.optimizer = make_optimizer(self.network, recipe)
        self.batches = Batches(
            rows.train_images,
            rows.train_labels,
            recipe=recipe,
            seed=seed,
            device=plan.torch_device,
        )
        self.total_steps = recipe.epochs * self.batches.per_epoch
        self.step = 0
        self.curve: list[EpochReport] = []
        self.validation_probabilities: NDArray[np.float32] | None = None
        torch.manual_seed(seed)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.curve)

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.total_steps

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
            interrupt: called before each step; may raise to stop at once.
            seconds_left: if given, the schedule is shortened so that the last step ends,
                with its rate annealed, before this reaches zero; validation comes on top.

        Raises:
            Diverged: the loss or the predictions are not finite.
        """
        while not self.finished:
            sums = self._train_epoch(interrupt, seconds_left)
            report = self._report(sums)
            self.curve.append(report)
            on_epoch(self, report)

    def _train_epoch(
        self, interrupt: Callable[[], None], seconds_left: Callable[[], float] | None
    ) -> _EpochSums:
        self.network.train()
        zero = torch.zeros((), device=self.plan.torch_device)
        sums = _EpochSums(loss=zero.clone(), correct=zero.clone())
        for batch in self.batches.epoch(self.epoch):
            interrupt()
            self._set_learning_rate()
            self._train_step(batch, sums)
            self.step += 1
            if seconds_left is not None and self.step % DEADLINE_CHECK_STEPS == 0:
                self._fit_to(seconds_left(), sums)
            if self.finished:
                break
        return sums

    def _train_step(self, batch: Batch, sums: _EpochSums) -> None:
        with self.plan.autocast():
            logits = self.network(batch.images)
            loss = self._loss(logits, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.candidate.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.candidate.recipe.clip_norm)
        self.optimizer.step()
        count = len(batch.labels)
        sums.loss += loss.detach() * count
        sums.correct += (logits.detach().argmax(1) == batch.labels).sum()
        sums.images += count

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        smoothing = self.candidate.recipe.label_smoothing
        logits = logits.float()
        loss = nn.functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        if batch.other_labels is None:
            return loss
        other = nn.functional.cross_entropy(logits, batch.other_labels, label_smoothing=smoothing)
        return batch.share * loss + (1.0 - batch.share) * other

    def _set_learning_rate(self) -> None:
        recipe = self.candidate.recipe
        progress = (self.step + 0.5) / self.total_steps
        rate = recipe.learning_rate * learning_rate_factor(recipe.schedule, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _fit_to(self, seconds_left: float, sums: _EpochSums) -> None:
        """Move the last step to where the time ends, at most to where it was planned.

        The pace is that of the whole training, so one slow step cuts little, and what it
        cuts is given back.
        """
        seconds = sum(epoch.train_seconds for epoch in self.curve)
        seconds += time.perf_counter() - sums.begin
        steps = (sum(epoch.images for epoch in self.curve) + sums.images) / self.batches.size
        if steps < MIN_PACE_STEPS and seconds_left > 0.0:
            return
        affordable = math.floor(seconds_left * (1.0 - RESERVED_SHARE) * steps / seconds)
        planned = self.candidate.recipe.epochs * self.batches.per_epoch
        self.total_steps = min(planned, self.step + max(0, affordable))

    def _report(self, sums: _EpochSums) -> EpochReport:
        train_loss = float(sums.loss) / sums.images
        if not math.isfinite(train_loss):
            raise Diverged(f"the training loss of epoch {self.epoch + 1} is {train_loss}")
        report = EpochReport(
            epoch=self.epoch + 1,
            images=sums.images,
            train_loss=train_loss,
            train_accuracy=float(sums.correct) / sums.images,
            train_seconds=time.perf_counter() - sums.begin,
        )
        if self.validate_each_epoch or self.finished:
            return self._validated(report)
        return report

    def _validated(self, report: EpochReport) -> EpochReport:
        begin = time.perf_counter()
        probabilities = self.predict(self.rows.validation_images, self.evaluation)
        if not np.isfinite(probabilities).all():
            raise Diverged(f"the predictions of epoch {report.epoch} are not finite")
        self.validation_probabilities = probabilities
        labels = self.rows.validation_labels
        likelihood = probabilities[np.arange(len(labels)), labels]
        return replace(
            report,
            validation_loss=float(-np.log(np.maximum(likelihood, MIN_LIKELIHOOD)).mean()),
            validation_accuracy=float((probabilities.argmax(1) == labels).mean()),
            validation_seconds=time.perf_counter() - begin,
        )

    def predict(self, images: NDArray[np.uint8], plan: DevicePlan) -> NDArray[np.float32]:
        """Return probabilities (rows, classes) for uint8 images, computed as `plan` says."""
        return predict_probabilities(
            self.network, images, normalisation=self.normalisation, plan=plan
        )

    def state(self) -> TrainingState:
        """Return a copy of all that the rest of the training depends on."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        optimizer_numbers: dict[str, Any] = {}
        for index, entry in self.optimizer.state_dict()["state"].items():
            for key, value in entry.items():
                name = f"optimizer.{index}.{key}"
                if isinstance(value, Tensor):
                    tensors[name] = value
                else:
                    optimizer_numbers[name] = value
        tensors["random.torch"] = torch.get_rng_state()
        if self.plan.torch_device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.plan.torch_device)
        return TrainingState(
            tensors={k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()},
            numbers={
                "step": self.step,
                "total_steps": self.total_steps,
                "curve": [asdict(report) for report in self.curve],
                "optimizer": optimizer_numbers,
                "random": self.batches.state(),
            },
        )

    def restore(self, state: TrainingState) -> None:
        """Continue from `state`, taken by an equal training between two epochs."""
        prefix = "network."
        weights = {
            k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)
        }
        self.network.load_state_dict(weights)
        entries: dict[int, dict[str, Any]] = {}
        values = {**state.tensors, **state.numbers["optimizer"]}
        for name, value in values.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                entries.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": entries, "param_groups": groups})
        self.step = int(state.numbers["step"])
        self.total_steps = int(state.numbers["total_steps"])
        self.curve = [EpochReport(**report) for report in state.numbers["curve"]]
        self.batches.restore(state.numbers["random"])
        torch.set_rng_state(state.tensors["random.torch"])
        if "random.cuda" in state.tensors:
            torch.cuda.set_rng_state(state.tensors["random.cuda"], self.plan.torch_device)
