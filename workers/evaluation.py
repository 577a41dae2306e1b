"""What a network says of uint8 images, in batches."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workers.batches import Normalisation
from workers.device import DevicePlan
from workers.selected import Images
from workers.targets import TargetScale, as_answers

LARGEST_BATCH = 500  # images
PIXELS = 2**20  # of a batch; of large images fewer are predicted at once, to save memory


def predict(
    network: nn.Module,
    images: Images,
    *,
    normalisation: Normalisation,
    plan: DevicePlan,
    scale: TargetScale | None = None,
    interrupt: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Return softmax probabilities (rows, classes) for images (rows, height, width, channels).

    Args:
        scale: of the numbers that the network predicts; then numbers (rows, 1) are returned.
        interrupt: called before each batch; may raise to stop.
    """
    network.eval()
    size = max(1, min(LARGEST_BATCH, PIXELS // (images.shape[1] * images.shape[2])))
    batches: list[torch.Tensor] = []
    with torch.inference_mode(), plan.autocast():
        for begin in range(0, len(images), size):
            interrupt()
            pixels = torch.from_numpy(images[begin : begin + size])
            outputs = network(normalisation.apply(pixels.to(plan.torch_device)))
            batches.append(as_answers(outputs, scale).cpu())
    return torch.cat(batches).numpy()
