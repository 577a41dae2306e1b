"""Class probabilities of a network for uint8 images, in batches."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workers.batches import Normalisation
from workers.device import DevicePlan

EVALUATION_BATCH = 500


def predict_probabilities(
    network: nn.Module,
    images: NDArray[np.uint8],
    *,
    normalisation: Normalisation,
    plan: DevicePlan,
) -> NDArray[np.float32]:
    """Return softmax probabilities (rows, classes) for images (rows, height, width, channels)."""
    network.eval()
    batches: list[torch.Tensor] = []
    with torch.inference_mode(), plan.autocast():
        for begin in range(0, len(images), EVALUATION_BATCH):
            pixels = torch.from_numpy(images[begin : begin + EVALUATION_BATCH])
            logits = network(normalisation.apply(pixels.to(plan.torch_device)))
            batches.append(logits.float().softmax(dim=1).cpu())
    return torch.cat(batches).numpy()
