"""One training step: forward, loss, backward, update; in pieces where memory is short."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from spaces.recipe import Recipe, RegressionLoss
from workers.batches import Batch
from workers.cuda_graphs import GraphedSteps
from workers.device import DevicePlan
from workers.memory import SMALLEST_PIECE
from workers.out_of_memory import is_out_of_memory
from workers.row_losses import RowLosses

LEAST_DOUBT = 1e-6  # of a focal loss: the gradient of a root is infinite at zero
REGRESSION_LOSSES: dict[RegressionLoss, Callable[..., Tensor]] = {
    "squared": nn.functional.mse_loss,
    "l1": nn.functional.l1_loss,
    "huber": nn.functional.huber_loss,
}


@dataclass(slots=True)
class StepSums:
    """Sums over steps, kept on the device so that no step waits for it."""

    device: torch.device
    images: int = 0
    weight: Tensor = field(init=False)
    loss: Tensor = field(init=False)
    correct: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.weight, self.loss, self.correct = torch.zeros((3,), device=self.device).unbind()

    def clear(self) -> None:
        """Begin again, in the same memory."""
        self.images = 0
        for total in (self.weight, self.loss, self.correct):
            total.zero_()

    @torch.no_grad()
    def add(self, logits: Tensor, batch: Batch, loss: Tensor) -> None:
        """Add the images of a batch or of a piece of one, each with its weight."""
        weights = batch.weights
        if weights is None:
            weights = torch.ones(len(batch.labels), device=self.device)
        self.weight += weights.sum()
        self.loss += loss * len(batch.labels)
        labels = batch.labels.argmax(1) if batch.labels.ndim > 1 else batch.labels
        if not labels.is_floating_point():
            self.correct += ((logits.argmax(1) == labels) * weights).sum()


class Stepper:
    """Takes training steps with one network and optimizer.

    Attributes:
        sums: over the steps since they were cleared.
        pieces: into how many a batch is cut; their gradients add up to the whole batch's, only
            the batch norms see fewer images at once. Doubled whenever memory runs out.
        losses: where the loss of each row is noted, if anybody wants to know.
        class_weights: (classes,) on the loss of each image, by its label.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        recipe: Recipe,
        plan: DevicePlan,
        losses: RowLosses | None = None,
        class_weights: Tensor | None = None,
        pieces: int = 1,
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.recipe, self.plan = recipe, plan
        self.losses = losses
        self.class_weights = class_weights
        self.pieces = pieces
        self.sums = StepSums(plan.torch_device)
        self._graphs = GraphedSteps() if plan.on_gpu else None

    def step(self, batch: Batch) -> None:
        """Take one step; if memory runs out, again without graphs, then in smaller pieces.

        Raises:
            MemoryError, RuntimeError: memory runs out even for the smallest pieces.
        """
        if not self._by_graph(batch):
            self._step_in_pieces(batch)
        self.sums.images += len(batch.labels)

    def _by_graph(self, batch: Batch) -> bool:
        """Take a step by a graph, if there is one; nothing here may hold graphs beyond it."""
        if self._graphs is None or self.pieces > 1:
            return False
        return self._graphs.take(self._whole_step, batch)

    def _whole_step(self, batch: Batch) -> None:
        self._gradients(batch)
        self._update()

    def _step_in_pieces(self, batch: Batch) -> None:
        while True:
            try:
                self._gradients(batch)
                break
            except (MemoryError, RuntimeError) as failure:
                smallest = len(batch.labels) // (2 * self.pieces) < SMALLEST_PIECE
                hopeless = smallest and self._graphs is None
                if hopeless or not is_out_of_memory(failure):
                    raise
            # outside the except block: the failure's frames hold what is to be freed
            if self._graphs is None:
                self.pieces *= 2
            self._graphs = None  # their memory comes on top of what other steps take
            if self.plan.on_gpu:
                torch.cuda.empty_cache()
        self._update()

    def _update(self) -> None:
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        if self.recipe.max_norm is not None:
            self._shorten(self.recipe.max_norm)

    def _gradients(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        done: list[tuple[Tensor, Batch, Tensor]] = []
        for piece in batch.split(self.pieces):
            with self.plan.autocast():
                logits = self.network(self.plan.laid_out(piece.images))
                losses, weighed = self._losses(logits, piece)
            if self.losses is not None and piece.rows is not None:
                self.losses.note(piece.rows, losses)
            loss = (weighed if piece.weights is None else weighed * piece.weights).mean()
            share = len(piece.labels) / len(batch.labels)
            (loss * share if share < 1.0 else loss).backward()  # type: ignore[no-untyped-call]
            done.append((logits.detach(), piece, loss.detach()))
        for counted in done:  # a batch counts once, also when memory ran out half-way
            self.sums.add(*counted)

    def _losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each image's loss (n,), and that times the weight of its class.

        Of a mixed image each of its two labels has its own weight.
        """
        plain, weighed = self._losses_of(logits, batch.labels)
        if batch.other_labels is None:
            return plain, weighed
        others, others_weighed = self._losses_of(logits, batch.other_labels)
        share, rest = batch.share, 1.0 - batch.share
        return share * plain + rest * others, share * weighed + rest * others_weighed

    def _losses_of(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        numbers = labels.is_floating_point() and labels.ndim == 1
        losses = (self._errors if numbers else self._cross_entropy)(logits, labels)
        if self.class_weights is None:
            return losses, losses
        return losses, losses * self._weights_of(self.class_weights, labels)

    @staticmethod
    def _weights_of(class_weights: Tensor, labels: Tensor) -> Tensor:
        """Return the weights (n,) of labels (n,), or of soft ones (n, classes)."""
        return class_weights[labels] if labels.ndim == 1 else labels @ class_weights

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits, recipe = logits.float(), self.recipe
        losses = nn.functional.cross_entropy(
            logits, labels, label_smoothing=recipe.label_smoothing, reduction="none"
        )
        if recipe.focal > 0.0:
            likelihoods = logits.softmax(1)
            if labels.ndim == 1:
                likelihood = likelihoods.gather(1, labels[:, None]).squeeze(1)
            else:
                likelihood = (likelihoods * labels).sum(1)
            losses = losses * (1.0 - likelihood).clamp_min(LEAST_DOUBT) ** recipe.focal
        return losses

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each number (n,) that was predicted (n, 1)."""
        loss = REGRESSION_LOSSES[self.recipe.regression_loss]
        errors: Tensor = loss(outputs.float()[:, 0], targets, reduction="none")
        return errors

    @torch.no_grad()
    def _shorten(self, most: float) -> None:
        """Shorten the incoming weights of units and filters that are longer than `most`."""
        for parameter in self.network.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.copy_(torch.renorm(parameter, 2, 0, most))
