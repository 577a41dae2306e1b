"""One training step: forward, loss, backward, update; in pieces where memory is short."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from spaces.recipe import Recipe
from workers.batches import Batch
from workers.device import DevicePlan
from workers.memory import SMALLEST_PIECE

MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(slots=True)
class StepSums:
    """Sums over steps, kept on the device so that no step waits for it."""

    device: torch.device
    images: int = 0
    loss: Tensor = field(init=False)
    correct: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.loss = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), device=self.device)

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Count the images of a batch or of a piece of one."""
        self.loss += loss * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.images += len(labels)


class Stepper:
    """Takes training steps with one network and optimizer.

    Attributes:
        pieces: into how many a batch is cut; their gradients add up to the whole batch's, only
            the batch norms see fewer images at once. Doubled whenever memory runs out.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        recipe: Recipe,
        plan: DevicePlan,
        pieces: int = 1,
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.recipe, self.plan = recipe, plan
        self.pieces = pieces

    def step(self, batch: Batch, sums: StepSums) -> None:
        """Take one step; if memory runs out, again in smaller pieces.

        Raises:
            MemoryError, RuntimeError: memory runs out even for the smallest pieces.
        """
        while True:
            try:
                self._gradients(batch, sums)
                break
            except (MemoryError, RuntimeError) as failure:
                smallest = len(batch.labels) // (2 * self.pieces) < SMALLEST_PIECE
                if smallest or not is_out_of_memory(failure):
                    raise
            # outside the except block: the failure's frames hold what is to be freed
            self.pieces *= 2
            if self.plan.torch_device.type == "cuda":
                torch.cuda.empty_cache()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimizer.step()

    def _gradients(self, batch: Batch, sums: StepSums) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        done: list[tuple[Tensor, Tensor, Tensor]] = []
        for piece in batch.split(self.pieces):
            with self.plan.autocast():
                logits = self.network(piece.images)
                loss = self._loss(logits, piece)
            share = len(piece.labels) / len(batch.labels)
            (loss * share if share < 1.0 else loss).backward()  # type: ignore[no-untyped-call]
            done.append((logits.detach(), piece.labels, loss.detach()))
        for counted in done:  # a batch counts once, also when memory ran out half-way
            sums.add(*counted)

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        smoothing = self.recipe.label_smoothing
        logits = logits.float()
        loss = nn.functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        if batch.other_labels is None:
            return loss
        other = nn.functional.cross_entropy(logits, batch.other_labels, label_smoothing=smoothing)
        return batch.share * loss + (1.0 - batch.share) * other


def is_out_of_memory(failure: BaseException) -> bool:
    """Whether an error says that memory ran out, on the processor or on a GPU."""
    return isinstance(failure, MemoryError) or any(
        words in str(failure).lower() for words in MEMORY_WORDS
    )
