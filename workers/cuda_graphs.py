"""Training steps as CUDA graphs: one call starts all kernels of a step.

The kernels of a small network are done sooner than Python can start them one by one. A graph holds
them together with the memory that they read and write (CUDA C++ Programming Guide, "CUDA Graphs").
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from workers.batches import Batch

EAGER_STEPS = 3  # before a recording: at first libraries choose kernels and states are made

log = logging.getLogger(__name__)

Form = tuple[Any, ...]
Step = Callable[[Batch], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """A step's kernels, and the batch on which they work whenever they are started."""

    graph: torch.cuda.CUDAGraph
    batch: Batch

    def replay(self, batch: Batch) -> None:
        """Take the step on another batch of the same form."""
        for name, held in _tensors(self.batch).items():
            held.copy_(getattr(batch, name))
        self.graph.replay()


class GraphedSteps:
    """Graphs of one training's step, one for each form that its batches have.

    Everything that the step reads and writes besides its batch must stay where it is in memory.
    The step is given with each batch, not once for all: whoever takes it holds the graphs, and in a
    cycle of references their memory would wait for the garbage collection.
    """

    def __init__(self) -> None:
        self._eager: Counter[Form] = Counter()
        self._recordings: dict[Form, Recording | None] = {}

    @property
    def recorded(self) -> int:
        """Of how many forms there is a graph."""
        return sum(recording is not None for recording in self._recordings.values())

    def take(self, step: Step, batch: Batch) -> bool:
        """Take a step by its graph, or say that it must be taken without one.

        So are the first steps on batches of a form, and all of those that cannot be recorded.

        Args:
            step: takes it without a graph; always the same, and it does not wait for the GPU.
        """
        form = _form(batch)
        if form not in self._recordings:
            if self._eager[form] < EAGER_STEPS:
                self._eager[form] += 1
                return False
            self._recordings[form] = self._record(step, batch)
        recording = self._recordings[form]
        if recording is None:
            return False
        recording.replay(batch)
        return True

    def _record(self, step: Step, batch: Batch) -> Recording | None:
        """Record a step without taking it; None if that cannot be done."""
        earlier = (each.graph for each in self._recordings.values() if each is not None)
        one = next(earlier, None)  # used in turn, they may share their memory
        graph = torch.cuda.CUDAGraph()
        try:
            held = replace(batch, **{name: t.clone() for name, t in _tensors(batch).items()})
            pool = None if one is None else one.pool()
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                step(held)
        except RuntimeError as failure:  # of memory, or of an operation that waits for the GPU
            reason = str(failure.__context__ or failure).splitlines()[0]
            log.warning(f"steps are taken without a CUDA graph: {reason}")
            return None
        return Recording(graph, held)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    values = {each.name: getattr(batch, each.name) for each in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _form(batch: Batch) -> Form:
    """Return what a graph depends on: shapes and types of a batch's tensors, and all else in it."""
    values = {each.name: getattr(batch, each.name) for each in fields(batch)}
    return tuple(
        (name, value.shape, value.dtype, value.stride()) if isinstance(value, Tensor) else value
        for name, value in values.items()
    )
