"""The training loop that tutorials teach, as the thing to be compared with.

float32 in the default memory format, a `Dataset` of PIL images, torchvision transforms in a
`DataLoader` with two workers, and a loss that is read after every step.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

LOADER_WORKERS = 2
CROP_PADDING = 2  # pixels on each side, as our shift of a 28-pixel image


class PilImages(Dataset[tuple[Any, int]]):
    """Grey images as torchvision's data sets hand them out: one PIL image at a time."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Any):
        self._images, self._labels, self._transform = images, labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = Image.fromarray(self._images[index, :, :, 0])
        return self._transform(image), int(self._labels[index])


def loader(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, batch_size: int, augmented: bool
) -> DataLoader[Any]:
    """Return the tutorials' loader over grey images (rows, height, width, 1)."""
    steps: list[Any] = []
    if augmented:
        crop = transforms.RandomCrop(images.shape[1:3], padding=CROP_PADDING)
        steps = [crop, transforms.RandomHorizontalFlip()]
    mean, std = float(images.mean() / 255.0), float(images.std() / 255.0)
    steps += [transforms.ToTensor(), transforms.Normalize((mean,), (std,))]
    data = PilImages(images, labels, transforms.Compose(steps))
    return DataLoader(
        data,
        batch_size=batch_size,
        shuffle=augmented,
        drop_last=augmented,
        num_workers=LOADER_WORKERS,
    )


def steps(
    network: nn.Module,
    batches: DataLoader[Any],
    optimizer: torch.optim.Optimizer,
    *,
    device: torch.device | str = "cpu",
) -> Iterator[int]:
    """Train over the loader once; yield the number of images after each step."""
    network.train()
    criterion = nn.CrossEntropyLoss()
    running_loss = 0.0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        yield len(labels)
