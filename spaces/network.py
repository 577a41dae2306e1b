"""From an `Architecture` to a network: stem, stages, head."""

import torch
from torch import Tensor, nn

from spaces.architecture import Architecture, Head, Stage, Stem, Views
from spaces.blocks import BLOCKS
from spaces.layers import PadToMultiple, Style, convolution, halving, unit


def stem_layers(w_in: int, stem: Stem, style: Style) -> nn.Sequential:
    """Return the first convolution with norm and activation; a whitening one needs no norm."""
    width = stem_width(stem, channels=w_in)
    layers: list[nn.Module]
    if stem.kind == "whitening":
        conv = convolution(w_in, width, kernel=stem.kernel, stride=stem.stride)
        conv.requires_grad_(False)
        layers = [conv, style.activation_layer()]
    elif stem.kind == "patch":
        patches = nn.Conv2d(w_in, width, stem.stride, stride=stem.stride, bias=style.norm == "none")
        layers = [patches, *style.norm_layer(width), style.activation_layer()]
        layers.insert(0, PadToMultiple(stem.stride))
    else:
        layers = unit(w_in, width, kernel=stem.kernel, style=style, stride=stem.stride)
    if stem.pooling == "max":
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def stage_layers(w_in: int, stage: Stage, *, style: Style, drops: list[float]) -> nn.Sequential:
    """Return blocks of one width; the resolution goes down in or before the first one.

    Args:
        drops: for each block, the probability with which its body is dropped.
    """
    layers: list[nn.Module] = []
    downsampling = stage.downsampling
    if stage.pools_before:
        pooling = halving(downsampling, kernel=stage.pool_kernel)
        assert pooling is not None
        layers, downsampling = [pooling], "none"
    for drop in drops:
        block = BLOCKS[stage.block]
        layers.append(block(w_in, stage, style=style, downsampling=downsampling, drop=drop))
        w_in, downsampling = stage.width, "none"
    return nn.Sequential(*layers)


class HeadLayers(nn.Module):
    """Pooling and fully connected layers, or a block and pooling, down to one logit a class."""

    def __init__(
        self, w_in: int, head: Head, *, style: Style, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.pooling, self.scale, self.grid = head.pooling, head.scale, head.grid
        self.block: nn.Module = nn.Identity()
        layers: list[nn.Module] = []
        if head.classifier == "nin":
            last = Stage(block="nin", depth=1, width=classes, pool="before", pool_kernel=3)
            block = stage_layers(w_in, last, style=style, drops=[0.0])
            self.block = nn.Sequential(nn.Dropout(dropout), block)
        else:
            w_in *= head.grid**2
            for width in head.hidden:
                layers += [nn.Dropout(dropout), nn.Linear(w_in, width), style.activation_layer()]
                w_in = width
            layers += [nn.Dropout(dropout), nn.Linear(w_in, classes)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, height, width) to logits (n, classes)."""
        logits: Tensor = self.layers(self._pooled(self.block(images)))
        return logits if self.scale == 1.0 else logits * self.scale

    def _pooled(self, images: Tensor) -> Tensor:
        if self.grid > 1:
            if self.pooling == "max" and self.training:
                return nn.functional.adaptive_max_pool2d(images, self.grid).flatten(1)
            if self.pooling == "max":
                return window_maxima(images, self.grid).flatten(1)
            return nn.functional.adaptive_avg_pool2d(images, self.grid).flatten(1)
        return images.amax((2, 3)) if self.pooling == "max" else images.mean((2, 3))


def window_maxima(images: Tensor, grid: int) -> Tensor:
    """Return what `adaptive_max_pool2d` does, of (n, channels, height, width) in evaluation.

    ONNX has no such pooling for sizes that the grid does not divide.
    """
    for axis in (2, 3):
        size = images.shape[axis]
        borders = [(size * place // grid, -(-size * (place + 1) // grid)) for place in range(grid)]
        parts = [images.narrow(axis, low, high - low).amax(axis) for low, high in borders]
        images = torch.stack(parts, dim=axis)
    return images


class Network(nn.Module):
    """Stem, stages and head of one `Architecture`."""

    def __init__(
        self,
        architecture: Architecture,
        *,
        channels: int,
        classes: int,
        dropout: float,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        style = Style(activation=architecture.activation, norm=architecture.norm)
        self.stem = stem_layers(channels, architecture.stem, style)
        self.views = architecture.views
        first = stem_width(architecture.stem, channels=channels)
        widths = [first, *(stage.width for stage in architecture.stages)]
        drops = iter(drop_rates(architecture, last=stochastic_depth))
        self.stages = nn.Sequential(
            *(
                stage_layers(
                    w_in, stage, style=style, drops=[next(drops) for _ in range(stage.depth)]
                )
                for w_in, stage in zip(widths, architecture.stages, strict=False)
            )
        )
        self.head = HeadLayers(
            widths[-1], architecture.head, style=style, classes=classes, dropout=dropout
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (n, channels, height, width) to logits (n, classes).

        In evaluation mode the logits are those of the architecture's views, averaged.
        """
        if self.training or self.views == "one":
            return self.one_view(images)
        # one after the other: all at once would take so many times the memory
        logits = [self.one_view(view).float() for view in views_of(images, self.views)]
        return torch.stack(logits).mean(0)

    def one_view(self, images: Tensor) -> Tensor:
        """Map normalised images (n, channels, height, width) to their own logits (n, classes)."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits


def views_of(images: Tensor, views: Views) -> list[Tensor]:
    """Return what a prediction averages for images (n, channels, height, width), as many each."""
    if views == "one":
        return [images]
    places = [images] if views == "flip" else [images, *diagonal_shifts(images)]
    return [*places, *(place.flip(3) for place in places)]


def diagonal_shifts(images: Tensor) -> list[Tensor]:
    """Return the images moved by a pixel up and left, and down and right; edges are repeated."""
    height, width = images.shape[2:]
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return [padded[:, :, :height, :width], padded[:, :, 2:, 2:]]


def drop_rates(architecture: Architecture, *, last: float) -> list[float]:
    """Return with which probability each block's body is dropped: from the first on up to `last`.

    (arXiv 1603.09382, section 3: linearly, as the first layers are needed by all others.)
    """
    blocks = sum(stage.depth for stage in architecture.stages)
    return [last * number / blocks for number in range(1, blocks + 1)]


def stem_width(stem: Stem, *, channels: int) -> int:
    """Return the stem's output channels: as asked, or fewer where a patch has not so many."""
    if stem.kind == "whitening":
        return min(stem.width, 2 * channels * stem.kernel**2)
    return stem.width


def build_network(
    architecture: Architecture,
    *,
    channels: int,
    classes: int,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    seed: int | None = None,
) -> Network:
    """Build a network; with a seed its first weights depend on that seed alone.

    Convolutions start from He's normal distribution by fan-out (arXiv 1502.01852).
    The caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        network = Network(
            architecture,
            channels=channels,
            classes=classes,
            dropout=dropout,
            stochastic_depth=stochastic_depth,
        )
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
