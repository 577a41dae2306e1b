"""The network, the space and the training that the Optuna and the Ray script share.

What one finds in tutorials: convolution, norm and ReLU, pooling after each stage; float32; PIL
images, torchvision's transforms and a `DataLoader` with two workers. The space has the axes and
ranges of ours that such scripts have, up to the widths that two cores can train.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.rivals.task import CLASSES, EPOCHS, WIDTHS
from benchmarks.tutorial import CROP_PADDING, LOADER_WORKERS, PilImages

MEAN, STD = (0.2860,), (0.3530,)  # of Fashion-MNIST's training pixels
Config = dict[str, Any]  # a value for each of these names, in lower case

STAGES, DEPTH, DROPOUT = (2, 4), (1, 3), (0.0, 0.5)  # from, to
WIDTH, KERNEL, BATCH_SIZE = list(WIDTHS), [3, 5], [64, 128, 256, 512]
OPTIMIZER, SCHEDULE = ["sgd", "adamw"], ["constant", "cosine"]
SGD_RATE, ADAMW_RATE, WEIGHT_DECAY = (0.01, 0.5), (3e-4, 1e-2), (1e-5, 1e-2)  # in logarithm


class Net(nn.Module):
    """Stages of equal blocks, each at half the resolution and twice the width of the last."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, width, kernel = 1, config["width"], config["kernel"]
        for _ in range(config["stages"]):
            for _ in range(config["depth"]):
                convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
            width *= 2
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config["dropout"])
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (n, 1, height, width) to logits (n, classes)."""
        features = self.features(images).mean((2, 3))
        logits: torch.Tensor = self.classifier(self.dropout(features))
        return logits


def make_optimizer(
    network: nn.Module, config: Config
) -> tuple[torch.optim.Optimizer, LRScheduler | None]:
    """Return the configuration's optimizer, and its schedule if it has one."""
    decay = config["weight_decay"]
    optimizer: torch.optim.Optimizer
    if config["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(
            network.parameters(), lr=config["sgd_rate"], momentum=0.9, weight_decay=decay
        )
    else:
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config["adamw_rate"], weight_decay=decay
        )
    annealed = config["schedule"] == "cosine"
    return optimizer, CosineAnnealingLR(optimizer, T_max=EPOCHS) if annealed else None


def train_loader(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, batch_size: int
) -> DataLoader[Any]:
    """Return shuffled batches of cropped and mirrored images."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(images.shape[1:3], padding=CROP_PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    data = PilImages(images, labels, transform)
    return DataLoader(data, batch_size=batch_size, shuffle=True, num_workers=LOADER_WORKERS)


def predict(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the class of each image (rows,)."""
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    data = PilImages(images, np.zeros(len(images), dtype=np.int64), transform)
    network.eval()
    classes: list[torch.Tensor] = []
    with torch.no_grad():
        for batch, _ in DataLoader(data, batch_size=512, num_workers=LOADER_WORKERS):
            classes.append(network(batch).argmax(1))
    return torch.cat(classes).numpy()
