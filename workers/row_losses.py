"""Which rows a pass leaves out because the network already knows them.

Most images of most data are learnt early, and every further look at them costs as much as a look
at a hard one. So a pass leaves out a random share of the easy rows, and those that stay weigh as
much more as stand for them: the gradient stays the same on average (InfoBatch, arXiv 2303.04947).
"""

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor


class RowLosses:
    """The loss that each training row had when it was last seen.

    Attributes:
        losses: float32 (rows,); infinite for a row that was never seen.
        skip: share of the easy rows, those of less than the mean loss, that is left out.
    """

    def __init__(self, rows: int, *, skip: float, device: torch.device) -> None:
        self.losses = torch.full((rows,), torch.inf, device=device)
        self.skip = skip

    def note(self, rows: Tensor, losses: Tensor) -> None:
        """Remember the losses (n,) of the rows with these numbers (n,)."""
        self.losses[rows] = losses.detach()

    def draw(self, random: Generator) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Draw which rows (rows,) the next pass sees, and how much each of them weighs.

        The weights of the rows that it sees are 1 on average.
        """
        losses = self.losses.cpu().numpy()
        seen = np.isfinite(losses)
        easy = seen & (losses < losses[seen].mean()) if seen.any() else seen
        kept = ~easy | (random.random(len(losses)) >= self.skip)
        weights = np.where(easy, 1.0 / (1.0 - self.skip), 1.0)
        return kept, (weights / weights[kept].mean()).astype(np.float32)
