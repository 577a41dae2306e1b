"""How what was drawn on the processor comes to the device that trains."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def staged(values: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array's values on a device, without waiting for what that has still to do.

    The array may change afterwards: of memory that is not pinned, CUDA takes a copy before the call
    returns (CUDA Runtime API, "API synchronization behavior"). On the processor the memory is the
    array's own.
    """
    return torch.from_numpy(values).to(device, non_blocking=True)
