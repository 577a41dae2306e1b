"""The memory of a training step, counted on the meta device: nothing is allocated or computed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spaces.architecture import Architecture
from spaces.network import build_network

FLOAT32_BYTES = 4
TRIAL_IMAGES = 2  # batch norm needs more than one


@dataclass(frozen=True, slots=True)
class StepMemory:
    """Bytes that one training step needs at its peak.

    Attributes:
        fixed: independent of the batch: weights in float32 with gradient and optimizer state,
            and their copy in the number type of the activations.
        per_image: kept from the forward for the backward pass, and the largest gradient.
    """

    fixed: int
    per_image: int

    def of(self, images: int) -> int:
        """Return the bytes of a step on so many images."""
        return self.fixed + images * self.per_image


def measure_step_memory(
    architecture: Architecture,
    *,
    image_shape: tuple[int, int, int],
    classes: int,
    dtype: torch.dtype,
    states: int,
) -> StepMemory:
    """Count the tensors that autograd keeps for a step on images of (height, width, channels).

    Args:
        dtype: of the activations.
        states: float32 numbers per parameter besides the weight itself: its gradient, what the
            optimizer remembers, an average.
    """
    height, width, channels = image_shape
    with torch.device("meta"):
        network = build_network(architecture, channels=channels, classes=classes).to(dtype)
        images = torch.empty(TRIAL_IMAGES, channels, height, width, dtype=dtype)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    kept: dict[int, Tensor] = {}
    # views of weights are kept as well: a linear layer's transposed one, for instance
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in own:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network.train()(images).sum()
    sizes = [tensor.untyped_storage().nbytes() for tensor in kept.values()]
    per_image = (sum(sizes) + max(sizes)) // TRIAL_IMAGES
    return StepMemory(
        fixed=parameters * ((1 + states) * FLOAT32_BYTES + dtype.itemsize), per_image=per_image
    )
