"""A model folder's ensemble as one module: bytes in, probabilities (or numbers) out."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from search.ensemble import member_name
from search.predictions import SMALLEST
from search.stacking import Stack
from spaces.architecture import VIEW_COUNTS
from spaces.network import Network, views_of
from workers.model_folder import Model, NetworkEntry


class DeployedNetwork(nn.Module):
    """A network with its normalisation before it, and what its outputs mean behind it.

    All views of an image go through the network at once, so that its layers stand in an exported
    graph but once; a network's own `forward` takes them one after the other, to save memory.
    """

    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, network: Network, entry: NetworkEntry) -> None:
        super().__init__()
        self.network = network
        self.views = entry.architecture.views
        self.of_numbers = entry.scale is not None
        if entry.scale is not None:  # tensors, as exporters take plain numbers for float32
            for name in ("mean", "std"):
                value = torch.tensor(getattr(entry.scale, name), dtype=torch.float64)
                self.register_buffer(f"target_{name}", value)
        self.register_buffer("mean", torch.tensor(entry.mean))
        self.register_buffer("scale", 1.0 / torch.tensor(entry.std))

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (n, height, width, channels) to probabilities (n, classes), or (n, 1)."""
        pixels = ((images.float() - self.mean) * self.scale).permute(0, 3, 1, 2)
        logits = self.network.one_view(torch.cat(views_of(pixels, self.views))).float()
        if self.views != "one":
            outputs = logits.shape[1]
            logits = logits.reshape(VIEW_COUNTS[self.views], -1, outputs).mean(0)
        if self.of_numbers:
            return logits.double() * self.target_std + self.target_mean
        return logits.softmax(1)


class PixelNetwork(nn.Module):
    """A network that takes images as they are, to be trained further.

    In training it sees one view of an image, in evaluation it averages all of the architecture's.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, network: Network, entry: NetworkEntry) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(entry.mean))
        self.register_buffer("scale", 1.0 / torch.tensor(entry.std))

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, height, width, channels) of any type, in 0..255, to logits (n, classes).

        Where numbers are predicted: to standardised numbers (n, 1).
        """
        pixels = ((images.float() - self.mean) * self.scale).permute(0, 3, 1, 2)
        logits: Tensor = self.network(pixels)
        return logits


class StackLayer(nn.Module):
    """What combines the trials of a stack (`search.stacking`), each the mean of its networks."""

    means: Tensor
    weights: Tensor
    biases: Tensor

    def __init__(self, stack: Stack, entries: Sequence[NetworkEntry]) -> None:
        super().__init__()
        self.of_numbers = len(stack.biases) == 1
        dtype = torch.float64 if self.of_numbers else torch.float32
        shares = torch.tensor(
            [
                [entry.weight * (member_name(entry.trial) == name) for entry in entries]
                for name in stack.members
            ],
            dtype=torch.float64,
        )
        means = (shares / shares.sum(1, keepdim=True)).to(dtype)
        self.register_buffer("means", means[:, :, None, None])
        self.register_buffer("weights", torch.tensor(stack.weights, dtype=dtype)[:, None, None])
        self.register_buffer("biases", torch.tensor(stack.biases, dtype=dtype))

    def forward(self, answers: Tensor) -> Tensor:
        """Map the networks' answers (networks, n, classes or 1) to (n, classes or 1)."""
        members = (self.means * answers).sum(1)
        if self.of_numbers:
            return (self.weights * members).sum(0) + self.biases
        logits = (self.weights * members.clamp_min(SMALLEST).log()).sum(0) + self.biases
        return logits.softmax(1)


class Deployed(nn.Module):
    """The weighted or stacked networks of a folder and their temperature."""

    weights: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        manifest = model.manifest
        pairs = zip(model.networks, manifest.networks, strict=True)
        self.networks = nn.ModuleList(DeployedNetwork(*pair) for pair in pairs)
        dtype = torch.float32 if manifest.class_names else torch.float64
        weights = torch.tensor([entry.weight for entry in manifest.networks], dtype=dtype)
        self.register_buffer("weights", weights[:, None, None])
        stack = manifest.stack
        self.stack = None if stack is None else StackLayer(stack, manifest.networks)
        self.temperature = manifest.temperature if manifest.class_names else 1.0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (n, height, width, channels) to float32 probabilities (n, classes).

        Where numbers are predicted: to float64 numbers (n, 1).
        """
        answers = torch.stack([network(images) for network in self.networks])
        total = (self.weights * answers).sum(0) if self.stack is None else self.stack(answers)
        if self.temperature == 1.0:
            return total
        return (total.clamp_min(SMALLEST).log() / self.temperature).softmax(1)


def example_images(model: Model, rows: int) -> Tensor:
    """Return images (rows, height, width, channels) of noise, as tracing needs some."""
    random = np.random.default_rng(0)
    shape = (rows, *model.manifest.image_shape)
    return torch.from_numpy(random.integers(0, 256, shape, dtype=np.uint8))
