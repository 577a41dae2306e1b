"""From an `Architecture` to a network: stem, stages, head."""

import torch
from torch import Tensor, nn

from spaces.architecture import Activation, Architecture, Head, Stage, Stem
from spaces.layers import BLOCKS, activation_layer, convolution


class StemLayers(nn.Sequential):
    """The first convolution with its norm and activation."""

    def __init__(self, w_in: int, stem: Stem, activation: Activation) -> None:
        super().__init__(
            convolution(w_in, stem.width, kernel=stem.kernel, stride=stem.stride),
            nn.BatchNorm2d(stem.width),
            activation_layer(activation),
        )


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
        self.pooling = head.pooling
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
        return logits


class Network(nn.Module):
    """Stem, stages and head of one `Architecture`."""

    def __init__(
        self, architecture: Architecture, *, channels: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        activation = architecture.activation
        self.stem = StemLayers(channels, architecture.stem, activation)
        widths = [architecture.stem.width, *(stage.width for stage in architecture.stages)]
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
        """Map normalised images (n, channels, height, width) to logits (n, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits


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
