"""What a network's layers have learnt: first filters, feature maps, and where a class is seen.

The class activation map is Grad-CAM's (R. R. Selvaraju et al., arXiv 1610.02391). The network is
stem, stages and head one after the other, so the gradient of a logit by the last maps needs no
hooks; `captum` gives the same maps (tests/test_explanation.py).
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from spaces.architecture import Architecture
from spaces.errors import StoreError
from spaces.network import Network, build_network
from workers.batches import Normalisation
from workers.fold_files import FoldFiles
from workers.pixels import as_tensor


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode, and how its images are normalised."""

    network: Network
    normalisation: Normalisation

    def inputs(self, images: NDArray[np.uint8]) -> Tensor:
        """Return images (n, height, width, channels) as the network sees them."""
        return self.normalisation.apply(as_tensor(images))


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What a part of a network gives for one image: (channels, height, width)."""

    part: str
    maps: NDArray[np.float32]


def load_trained(files: FoldFiles, *, channels: int, classes: int) -> Trained:
    """Load the network of a fold.

    Raises:
        StoreError: its files are missing or damaged.
    """
    try:
        meta = json.loads(files.meta.read_text())
        architecture = Architecture.from_json(meta["candidate"]["architecture"])
        network = build_network(architecture, channels=channels, classes=classes)
        network.load_state_dict(load_tensors(files.weights.read_bytes()))
        mean, std = (tuple(meta["normalisation"][name]) for name in ("mean", "std"))
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as failure:
        reason = " ".join(str(failure).split())[:200]
        raise StoreError(f"a network must be readable at {files.folder}: {reason}") from None
    return Trained(network.eval(), Normalisation(mean=mean, std=std))


def first_filters(network: Network) -> NDArray[np.float32]:
    """Return the weights of the first convolution: (filters, channels, height, width)."""
    first = next(module for module in network.stem.modules() if isinstance(module, nn.Conv2d))
    weights: NDArray[np.float32] = first.weight.detach().float().numpy()
    return weights


def feature_maps(trained: Trained, image: NDArray[np.uint8]) -> list[FeatureMaps]:
    """Return what the stem and each stage give for an image (height, width, channels)."""
    found, maps = [], trained.inputs(image[None])
    parts: list[tuple[str, nn.Module]] = [("stem", trained.network.stem)]
    parts += [
        (f"stage {number}", stage) for number, stage in enumerate(trained.network.stages, start=1)
    ]
    with torch.inference_mode():
        for name, part in parts:
            maps = part(maps)
            found.append(FeatureMaps(name, maps[0].float().numpy()))
    return found


def class_maps(
    trained: Trained, images: NDArray[np.uint8], classes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return where each image speaks for a class, by Grad-CAM: (n, height, width) of the last maps.

    A map's weight is the mean over its pixels of the gradient of the class's logit; what speaks
    against the class is 0.

    Args:
        images: uint8 of (n, height, width, channels).
        classes: (n,) outputs, one for each image.
    """
    network = trained.network
    with torch.no_grad():
        maps = network.stages(network.stem(trained.inputs(images)))
    maps = maps.detach().requires_grad_(True)
    logits = network.head(maps)
    chosen = logits.gather(1, torch.from_numpy(classes)[:, None]).sum()
    (gradients,) = torch.autograd.grad(chosen, maps)
    weights = gradients.mean((2, 3), keepdim=True)
    found: NDArray[np.float32] = (weights * maps).sum(1).relu().detach().float().numpy()
    return found
