"""Augmentations of a whole batch at once, each image with its own random numbers.

All take normalised float32 images (n, channels, height, width) and the generator that decides.
Shifts and flips are not here: they are a part of gathering the batch (`workers/batches.py`).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from workers.staging import staged

ERASE_SHARE = 0.35  # side of the erased square as a share of the image's side
ERASE_PROBABILITY = 0.5
ROTATION = 10.0  # degrees, largest either way
SCALE = 1.1  # largest factor of the size; its inverse is the smallest
MOVE = 0.08  # largest translation as a share of the side
CONTRAST, BRIGHTNESS = 0.2, 0.2  # largest change of the factor, and in standard deviations


def erase(images: Tensor, random: Generator) -> Tensor:
    """Set a random square of half of the images to the mean (arXiv 1708.04896)."""
    count, _, height, width = images.shape
    square = max(1, round(ERASE_SHARE * min(height, width)))
    top = random.integers(0, height - square + 1, (count, 1))
    left = random.integers(0, width - square + 1, (count, 1))
    chosen = random.random((count, 1)) < ERASE_PROBABILITY
    in_rows = (np.arange(height) >= top) & (np.arange(height) < top + square) & chosen
    in_columns = (np.arange(width) >= left) & (np.arange(width) < left + square)
    mask = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(staged(mask, images.device), 0.0)


def affine(images: Tensor, random: Generator) -> Tensor:
    """Rotate, scale and move each image; pixels are interpolated, the border is repeated."""
    count, _, height, width = images.shape
    angle = np.radians(random.uniform(-ROTATION, ROTATION, count))
    scale = np.exp(random.uniform(-np.log(SCALE), np.log(SCALE), count))
    move = random.uniform(-2.0 * MOVE, 2.0 * MOVE, (count, 2))  # a side is 2 long in the grid
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    aspect = height / width  # the grid is square, the image need not be
    matrices = np.stack(
        [
            np.stack([cosine, -sine * aspect, move[:, 0]], axis=1),
            np.stack([sine / aspect, cosine, move[:, 1]], axis=1),
        ],
        axis=1,
    )
    theta = staged(matrices.astype(np.float32), images.device)
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    warped = nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return warped.contiguous(memory_format=torch.channels_last)


def jitter(images: Tensor, random: Generator) -> Tensor:
    """Change each image's contrast and brightness."""
    shape = (len(images), 1, 1, 1)
    factor = random.uniform(1.0 - CONTRAST, 1.0 + CONTRAST, shape).astype(np.float32)
    offset = random.uniform(-BRIGHTNESS, BRIGHTNESS, shape).astype(np.float32)
    device = images.device
    return images * staged(factor, device) + staged(offset, device)


AUGMENTATIONS: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "affine": affine,
    "jitter": jitter,
    "erase": erase,
}
