"""From an `Architecture` to a network: stem, stages, head."""

import torch
from torch import Tensor, nn

from spaces.architecture import Activation, Architecture, Head, Stage, Stem
from spaces.layers import BLOCKS, activation_layer, convolution


class StemLayers(nn.Sequential):
    """The first convolution with its norm and activation; a whitening one needs no norm."""

    def __init__(self, w_in: int, stem: Stem, activation: Activation) -> None:
        width = stem_width(stem, channels=w_in)
        conv = convolution(w_in, width, kernel=stem.kernel, stride=stem.stride)
        layers: list[nn.Module] = [conv, activation_layer(activation)]
        if stem.kind == "whitening":
            conv.requires_grad_(False)
        else:
            layers.insert(1, nn.BatchNorm2d(width))
        super().__init__(*layers)


class StageLayers(nn.Sequential):
    """Blocks of one width; the first one takes the resolution down."""

    def __init__(self, w_in: int, stage: Stage, activation: Activation) -> None:
        block = BLOCKS[stage.block]
        super().__init__(
            *(
                block(
                    w_in if index == 0 else stage.width,
                    stage.width,
                    kernel=stage.kernel,
                    downsampling=stage.downsampling if index == 0 else "none",
                    activation=activation,
                )
                for index in range(stage.depth)
            )
        )


class HeadLayers(nn.Module):
    """Global pooling and fully connected layers down to one logit a class."""

    def __init__(
        self, w_in: int, head: Head, *, activation: Activation, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.pooling, self.scale = head.pooling, head.scale
        layers: list[nn.Module] = []
        for width in head.hidden:
            layers += [nn.Dropout(dropout), nn.Linear(w_in, width), activation_layer(activation)]
            w_in = width
        layers += [nn.Dropout(dropout), nn.Linear(w_in, classes)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, height, width) to logits (n, classes)."""
        pooled = images.amax((2, 3)) if self.pooling == "max" else images.mean((2, 3))
        logits: Tensor = self.layers(pooled)
        return logits if self.scale == 1.0 else logits * self.scale


class Network(nn.Module):
    """Stem, stages and head of one `Architecture`."""

    def __init__(
        self, architecture: Architecture, *, channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        activation = architecture.activation
        self.stem = StemLayers(channels, architecture.stem, activation)
        self.views = architecture.views
        first = stem_width(architecture.stem, channels=channels)
        widths = [first, *(stage.width for stage in architecture.stages)]
        self.stages = nn.Sequential(
            *(
                StageLayers(w_in, stage, activation)
                for w_in, stage in zip(widths, architecture.stages, strict=False)
            )
        )
        self.head = HeadLayers(
            widths[-1], architecture.head, activation=activation, classes=classes, dropout=dropout
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, channels, height, width) to logits (n, classes).

        In evaluation mode the logits are those of the architecture's views, averaged.
        """
        if self.training or self.views == "one":
            logits: Tensor = self.head(self.stages(self.stem(images)))
            return logits
        return self._average(images)

    def _average(self, images: Tensor) -> Tensor:
        views = [images] if self.views == "flip" else [images, *diagonal_shifts(images)]
        views += [view.flip(3) for view in views]
        # one after the other: all at once would take so many times the memory
        logits = [self.head(self.stages(self.stem(view))).float() for view in views]
        return torch.stack(logits).mean(0)


def diagonal_shifts(images: Tensor) -> list[Tensor]:
    """Return the images moved by a pixel up and left, and down and right; edges are repeated."""
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return [padded[:, :, :height, :width], padded[:, :, 2:, 2:]]


def stem_width(stem: Stem, *, channels: int) -> int:
    """Return the stem's output channels: as asked, or fewer where a patch has not so many."""
    if stem.kind == "convolution":
        return stem.width
    return min(stem.width, 2 * channels * stem.kernel**2)


def build_network(
    architecture: Architecture,
    *,
    channels: int,
    classes: int,
    dropout: float = 0.0,
    seed: int | None = None,
) -> Network:
    """Build a network; with a seed its first weights depend on that seed alone.

    Convolutions start from He's normal distribution by fan-out (arXiv 1502.01852).
    The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network = Network(architecture, channels=channels, classes=classes, dropout=dropout)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
