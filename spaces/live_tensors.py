"""How many bytes of tensors are needed at once while a network computes."""

import itertools
import weakref
from collections import Counter
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made and still needed, and their peak.

    Args:
        beside: a network, whose own tensors are not counted.
    """

    def __init__(self, *, beside: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        own = itertools.chain(beside.parameters(), beside.buffers())
        self._own = {tensor.untyped_storage()._cdata for tensor in own}
        self._bytes = 0
        self._tensors: dict[int, int] = {}  # of live ones, which storage each looks into
        self._views: Counter[int] = Counter()  # how many live tensors look into a storage

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                self.note(each)
        return result

    def note(self, tensor: Tensor) -> None:
        """Count a tensor for as long as it lives."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if id(tensor) in self._tensors or key in self._own:
            return
        self._tensors[id(tensor)] = key
        self._views[key] += 1
        if self._views[key] == 1:
            self._bytes += storage.nbytes()
            self.peak = max(self.peak, self._bytes)
        weakref.finalize(tensor, self._forget, id(tensor), storage.nbytes()).atexit = False

    def _forget(self, tensor: int, size: int) -> None:
        key = self._tensors.pop(tensor)
        self._views[key] -= 1
        if not self._views[key]:
            del self._views[key]
            self._bytes -= size
