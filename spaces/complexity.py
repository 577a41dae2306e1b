"""What a network costs, measured on the built module rather than on a formula beside it."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from spaces.architecture import Architecture
from spaces.limits import Complexity
from spaces.live_tensors import LiveTensors
from spaces.network import build_network


def measure_complexity(
    architecture: Architecture, *, image_shape: tuple[int, int, int], classes: int
) -> Complexity:
    """Measure a network for images of (height, width, channels), without allocating weights.

    MACs are those of one view: what a step of training costs per image and forward pass.
    """
    height, width, channels = image_shape
    one_view = architecture.model_copy(update={"views": "one"})
    with torch.device("meta"):
        network = build_network(one_view, channels=channels, classes=classes)
        image = torch.empty(1, channels, height, width)
    return count(network.eval(), image)


def count(network: nn.Module, image: Tensor) -> Complexity:
    """Count parameters, MACs and activations of `network` on a batch of one image."""
    counter, live = FlopCounterMode(display=False), LiveTensors(beside=network)
    live.note(image)
    with torch.no_grad(), live, counter:
        network(image)
    parameters = sum(p.numel() for p in network.parameters())
    return Complexity(
        parameters=parameters, macs=counter.get_total_flops() // 2, activations=live.peak
    )
