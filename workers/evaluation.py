"""Class probabilities of a network for uint8 images, in batches."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workers.batches import Normalisation
from workers.device import DevicePlan

LARGEST_BATCH = 500  # images
PIXELS = 2**20  # of a batch; of large images fewer are predicted at once, to save memory


def predict_probabilities(
    network: nn.Module,
    images: NDArray[np.uint8],
    *,
    normalisation: Normalisation,
    plan: DevicePlan,
    interrupt: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Return softmax probabilities (rows, classes) for images (rows, height, width, channels).

    Args:
        interrupt: called before each batch; may raise to stop.
    """
    network.eval()
    size = max(1, min(LARGEST_BATCH, PIXELS // (images.shape[1] * images.shape[2])))
    batches: list[torch.Tensor] = []
    with torch.inference_mode(), plan.autocast():
        for begin in range(0, len(images), size):
            interrupt()
            pixels = torch.from_numpy(images[begin : begin + size])
            logits = network(normalisation.apply(pixels.to(plan.torch_device)))
            batches.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(batches).numpy()
