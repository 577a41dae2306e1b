"""Averages of the weights over the last steps of a training."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from spaces.recipe import Averaging

INTERVAL = 5  # steps between two updates
HORIZON = 0.06  # of all steps: how far back an average reaches, on average
LOOKAHEAD_PULL = 0.5  # how far the fast weights' position moves the slow ones


class WeightAverage:
    """The averaged weights and buffers of one network.

    "ema" leaves the training alone; its average predicts. "lookahead" (arXiv 1907.08610) moves
    slow weights halfway to the fast ones and lets the training go on from there.
    """

    def __init__(self, network: nn.Module, kind: Averaging) -> None:
        self.kind = kind
        state = network.state_dict(keep_vars=True)
        self._live = [tensor for tensor in state.values() if tensor.is_floating_point()]
        self._average = [v.detach().clone() for v in self._live]

    @torch.no_grad()
    def update(self, *, step: int, total_steps: int) -> None:
        """Take in the weights after `step` of `total_steps` steps."""
        if step % INTERVAL and step != total_steps:
            return
        if self.kind == "lookahead":
            torch._foreach_lerp_(self._average, self._live, LOOKAHEAD_PULL)
            torch._foreach_copy_(self._live, self._average)
            return
        # early weights are far from the last ones, so the average first follows them closely
        horizon = min(HORIZON * total_steps, 0.2 * step) + 1.0
        torch._foreach_lerp_(self._average, self._live, min(1.0, INTERVAL / horizon))

    @property
    def tensors(self) -> list[Tensor]:
        """The averaged weights and buffers, in the order of the network's state."""
        return self._average

    @torch.no_grad()
    def restore(self, tensors: list[Tensor]) -> None:
        """Continue from saved `tensors`."""
        torch._foreach_copy_(self._average, tensors)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network hold the average over a block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for live, average in zip(self._live, self._average, strict=True):
            kept = live.detach().clone()
            live.copy_(average)
            average.copy_(kept)
