"""What blocks are made of. Activations are batches of (n, channels, height, width)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spaces.architecture import Activation, Downsampling, Norm

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}
GROUP_CHANNELS = 16  # that a group norm takes together (arXiv 1803.08494)
LEAST_SQUEEZED = 4  # channels, as fewer tell too little about the others


@dataclass(frozen=True, slots=True)
class Style:
    """What all layers of a network share."""

    activation: Activation
    norm: Norm

    def norm_layer(self, width: int) -> list[nn.Module]:
        """Return the norm of so many channels, as a list of one or none."""
        if self.norm == "batch":
            return [nn.BatchNorm2d(width)]
        if self.norm == "group":
            groups = math.gcd(width, max(1, width // GROUP_CHANNELS))
            return [nn.GroupNorm(groups, width)]
        return []

    def activation_layer(self) -> nn.Module:
        """Return a new activation."""
        return ACTIVATIONS[self.activation]()


def convolution(
    w_in: int,
    w_out: int,
    *,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a convolution that keeps the size at stride 1, and rounds up half of it at 2."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2)
    return nn.Conv2d(w_in, w_out, sides, stride=stride, padding=padding, groups=groups, bias=bias)


def unit(
    w_in: int,
    w_out: int,
    *,
    kernel: int | tuple[int, int],
    style: Style,
    stride: int | tuple[int, int] = 1,
    groups: int = 1,
    pooling: nn.Module | None = None,
    activate: bool = True,
) -> list[nn.Module]:
    """Return a convolution, a pooling if there is one, norm and activation.

    A maximum is the same before a norm and activation as behind them, as long as these rise, and
    a pooling before them spares three quarters of their work.
    """
    layers: list[nn.Module] = [
        convolution(
            w_in, w_out, kernel=kernel, stride=stride, groups=groups, bias=style.norm == "none"
        )
    ]
    if pooling is not None:
        layers.append(pooling)
    layers += style.norm_layer(w_out)
    if activate:
        layers.append(style.activation_layer())
    return layers


def halving(kind: Downsampling, *, kernel: int = 2) -> nn.Module | None:
    """Return the pooling that halves height and width, rounding up; None for the others.

    Args:
        kernel: pixels that are pooled along each side, 2 or 3.
    """
    padding = kernel // 2 if kernel % 2 else 0
    if kind == "max":
        return nn.MaxPool2d(kernel, stride=2, padding=padding, ceil_mode=not padding)
    if kind == "mean":
        return nn.AvgPool2d(
            kernel, stride=2, padding=padding, ceil_mode=not padding, count_include_pad=False
        )
    return None


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all of them are on average (arXiv 1709.01507)."""

    def __init__(self, width: int, *, squeeze: int) -> None:
        super().__init__()
        narrow = max(LEAST_SQUEEZED, width // squeeze)
        self.weigh = nn.Sequential(
            nn.Linear(width, narrow), nn.ReLU(), nn.Linear(narrow, width), nn.Sigmoid()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, channels, height, width), as given."""
        weights: Tensor = self.weigh(images.mean((2, 3)))
        return images * weights[:, :, None, None]


class StochasticDepth(nn.Module):
    """Drops the body of a residual block for some images in training (arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, body: Tensor) -> Tensor:
        """Return zero for the images that are dropped; the others are scaled to keep the mean."""
        if not self.training or self.rate == 0.0:
            return body
        keep = 1.0 - self.rate
        mask = torch.empty(len(body), 1, 1, 1, dtype=body.dtype, device=body.device)
        return body * mask.bernoulli_(keep).div_(keep)


class PadToMultiple(nn.Module):
    """Zeros at the right and lower edge, up to the next multiple of a patch's side."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, channels, height, width) with height and width rounded up."""
        height, width = images.shape[2:]
        below, right = -height % self.side, -width % self.side
        return nn.functional.pad(images, (0, right, 0, below)) if below or right else images
