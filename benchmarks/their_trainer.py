"""A worker of ours that trains as the tutorials do; `search_with_their_trainer.py` starts it.

float32 in contiguous memory, PIL images and torchvision's transforms in a `DataLoader` with two
workers, also to validate, and a loss that is read after every step. The plan is made for the speed
of that trainer, measured on this host as the plan's own probe is. All else is `workers.worker`.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from typing_extensions import override

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

import workers.preparation
import workers.training
from benchmarks.tutorial import LOADER_WORKERS, PilImages, steps
from search.plan import HostSpeed
from spaces.complexity import measure_complexity
from spaces.network import build_network
from spaces.recipe import Recipe
from workers.augmentation import ERASE_PROBABILITY
from workers.batches import Batch, Batches, Normalisation, always
from workers.device import DevicePlan
from workers.evaluation import LARGEST_BATCH
from workers.host_speed import PROBE_BATCH, PROBE_NETWORK, PROBE_SIDE, host_key
from workers.stepping import Stepper
from workers.targets import TargetScale
from workers.worker import main as run_worker

THEIR_PLAN = DevicePlan(device="cpu", dtype="float32", channels_last=False)
WARM_UP_STEPS, PROBE_STEPS = 2, 16


class LoaderBatches(Batches):
    """The batches of a recipe, out of a `DataLoader`."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        *,
        recipe: Recipe,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(images, labels, recipe=recipe, seed=seed, device=device)
        self._data = PilImages(images, labels, self._transform())

    @override
    def one_pass(
        self, *, whole: bool = False, augment: Callable[[], bool] = always
    ) -> Iterator[Batch]:
        """Yield the batches of a pass, each row at most once: always all, always augmented."""
        self.passes += 1
        seed = int(self.random.integers(2**63))
        loader = DataLoader(
            self._data,
            batch_size=self.size,
            shuffle=True,
            drop_last=True,
            num_workers=LOADER_WORKERS,
            generator=torch.Generator().manual_seed(seed),
        )
        for images, labels in loader:
            batch = Batch(images, labels)
            yield self._mixed(batch) if self.recipe.mixup > 0.0 else batch

    def _transform(self) -> transforms.Compose:
        chosen = self.recipe.augmentation
        augmentations = []
        if self.shift:
            augmentations.append(transforms.RandomCrop(self.side, padding=self.shift))
        if "flip" in chosen:
            augmentations.append(transforms.RandomHorizontalFlip())
        erasing = [transforms.RandomErasing(p=ERASE_PROBABILITY)] if "erase" in chosen else []
        return transforms.Compose([*augmentations, *to_tensor(self.normalisation), *erasing])


class ReadingStepper(Stepper):
    """Reads the loss after each step, as a running loss that is printed wants it."""

    @override
    def step(self, batch: Batch) -> None:
        """Take one step."""
        super().step(batch)
        self.sums.loss.item()


def to_tensor(normalisation: Normalisation) -> list[Callable[..., torch.Tensor]]:
    """Return the transforms from a PIL image to normalised numbers."""
    mean = [value / 255.0 for value in normalisation.mean]
    std = [value / 255.0 for value in normalisation.std]
    return [transforms.ToTensor(), transforms.Normalize(mean, std)]


def predict_from_loader(
    network: nn.Module,
    images: NDArray[np.uint8],
    *,
    normalisation: Normalisation,
    plan: DevicePlan,
    scale: TargetScale | None = None,
    interrupt: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Return softmax probabilities (rows, classes) for images that a `DataLoader` reads."""
    interrupt()
    assert plan.dtype == "float32" and scale is None
    no_labels = np.zeros(len(images), dtype=np.int64)
    data = PilImages(images, no_labels, transforms.Compose(to_tensor(normalisation)))
    loader = DataLoader(data, batch_size=LARGEST_BATCH, num_workers=LOADER_WORKERS)
    network.eval()
    with torch.no_grad():
        batches = [network(batch).softmax(dim=1) for batch, _ in loader]
    return torch.cat(batches).numpy()


def their_speed(
    *, cache: Path, progress: Callable[[str], None], workers: int = 1
) -> tuple[HostSpeed, DevicePlan]:
    """Return their plan and its speed; measured at the first call and remembered below `cache`.

    Of each of so many workers: they have a core each.
    """
    path = cache / "rivals" / f"tutorial-speed-{host_key()}.json"
    if path.exists():
        return HostSpeed.from_json(json.loads(path.read_text())), THEIR_PLAN
    progress("measuring how fast the tutorials' trainer is on this host")
    macs = measure_complexity(PROBE_NETWORK, image_shape=(PROBE_SIDE, PROBE_SIDE, 1), classes=10)
    speed = HostSpeed(images_per_second=round(images_per_second()), macs=macs.macs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(speed.to_json()) + "\n")
    return speed, THEIR_PLAN


def images_per_second() -> float:
    """Measure the tutorials' loop with the network of our own probe.

    Images are read in the training process: with a worker a core, its loaders' processes take the
    same cores' time.
    """
    rows = (WARM_UP_STEPS + PROBE_STEPS) * PROBE_BATCH
    images = np.random.default_rng(0).integers(0, 256, (rows, PROBE_SIDE, PROBE_SIDE, 1), np.uint8)
    labels = np.zeros(rows, dtype=np.int64)
    crop = [transforms.RandomCrop(PROBE_SIDE, padding=2), transforms.RandomHorizontalFlip()]
    chain = transforms.Compose([*crop, *to_tensor(Normalisation.of(images))])
    network = build_network(PROBE_NETWORK, channels=1, classes=10, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    loop = steps(network, DataLoader(PilImages(images, labels, chain), PROBE_BATCH), optimizer)
    for _ in itertools.islice(loop, WARM_UP_STEPS):
        pass
    begin = time.perf_counter()
    trained = sum(loop)
    return trained / (time.perf_counter() - begin)


EXCHANGED: tuple[tuple[ModuleType, str, Callable[..., Any]], ...] = (
    (workers.preparation, "host_speed", their_speed),
    (workers.training, "Batches", LoaderBatches),
    (workers.training, "Stepper", ReadingStepper),
    (workers.training, "predict", predict_from_loader),
)


def main() -> None:
    """Be a worker like any other, but for its trainer."""
    for module, name, theirs in EXCHANGED:
        patch.object(module, name, theirs).start()  # fails where there is no such name
    sys.exit(run_worker())


if __name__ == "__main__":
    main()
