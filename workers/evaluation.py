"""What a network says of uint8 images, in batches, and how far that is from the labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workers.batches import Normalisation
from workers.device import DevicePlan
from workers.out_of_memory import is_out_of_memory
from workers.pixels import as_tensor
from workers.selected import Images
from workers.targets import TargetScale, as_answers

LARGEST_BATCH = 500  # images
PIXELS = 2**20  # of a batch; of large images fewer are predicted at once, to save memory
MIN_LIKELIHOOD = 1e-12  # keeps the loss of a class that was given no probability finite


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

    Where memory runs out, fewer images at once are predicted.

    Args:
        scale: of the numbers that the network predicts; then numbers (rows, 1) are returned.
        interrupt: called before each batch; may raise to stop.

    Raises:
        MemoryError, RuntimeError: memory runs out even for one image.
    """
    network.eval()
    size = max(1, min(LARGEST_BATCH, PIXELS // (images.shape[1] * images.shape[2])))
    batches: list[torch.Tensor] = []
    begin = 0
    with torch.inference_mode(), plan.autocast():
        while begin < len(images):
            interrupt()
            try:
                pixels = as_tensor(images[begin : begin + size]).to(plan.torch_device)
                outputs = network(plan.laid_out(normalisation.apply(pixels)))
                batches.append(as_answers(outputs, scale).cpu())
            except (MemoryError, RuntimeError) as failure:
                if size == 1 or not is_out_of_memory(failure):
                    raise
            else:
                begin += size
                continue
            # outside the except block: the failure's frames hold what is to be freed
            size //= 2
            if plan.on_gpu:
                torch.cuda.empty_cache()
    return torch.cat(batches).numpy()


def loss_and_accuracy(
    labels: NDArray[Any], answers: NDArray[np.float32], *, scale: TargetScale | None
) -> tuple[float, float | None]:
    """Return the loss of predictions (rows, classes), and their accuracy.

    Of numbers (rows, 1) that is the squared error in units of their variance, and None.
    """
    if scale is not None:
        return float(np.square((answers[:, 0] - labels) / scale.std).mean()), None
    likelihood = answers[np.arange(len(labels)), labels]
    loss = float(-np.log(np.maximum(likelihood, MIN_LIKELIHOOD)).mean())
    return loss, float((answers.argmax(1) == labels).mean())
