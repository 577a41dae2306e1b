"""The blocks that stages repeat. Activations are batches of (n, channels, height, width)."""

from typing import Protocol

import torch
from torch import Tensor, nn

from spaces.architecture import BlockKind, Branches, Downsampling, Stage
from spaces.layers import SqueezeExcitation, StochasticDepth, Style, halving, unit


class MakeBlock(Protocol):
    """What builds one block of a stage."""

    def __call__(
        self, w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
    ) -> nn.Module:
        """Return a new block.

        Args:
            w_in: its input channels; its output's are the stage's.
            downsampling: of this block, "none" for all but a stage's first one.
            drop: probability with which its body is dropped, if it has a shortcut.
        """
        ...


def _pooling(stage: Stage, downsampling: Downsampling) -> nn.Module | None:
    return halving(downsampling, kernel=stage.pool_kernel)


def _stride(downsampling: Downsampling) -> int:
    return 2 if downsampling == "stride" else 1


def _spatial(
    w_in: int,
    w_out: int,
    stage: Stage,
    *,
    style: Style,
    downsampling: Downsampling,
    groups: int = 1,
) -> list[nn.Module]:
    """Return the convolution with the stage's kernel, by which the resolution goes down."""
    return unit(
        w_in,
        w_out,
        kernel=stage.kernel,
        style=style,
        stride=_stride(downsampling),
        groups=groups,
        pooling=_pooling(stage, downsampling),
    )


def _squeezed(layers: list[nn.Module], stage: Stage) -> list[nn.Module]:
    if stage.squeeze:
        layers.append(SqueezeExcitation(stage.width, squeeze=stage.squeeze))
    return layers


def plain(
    w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
) -> nn.Module:
    """Convolution, pooling where the resolution halves, norm, activation."""
    layers = _spatial(w_in, stage.width, stage, style=style, downsampling=downsampling)
    return nn.Sequential(*_squeezed(layers, stage))


def nin(
    w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
) -> nn.Module:
    """Convolution, then two of 1x1, which mix channels alone."""
    layers = _spatial(w_in, stage.width, stage, style=style, downsampling=downsampling)
    for _ in range(2):
        layers += unit(stage.width, stage.width, kernel=1, style=style)
    return nn.Sequential(*_squeezed(layers, stage))


def factorised(
    w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
) -> nn.Module:
    """1xk and kx1: for k of 3 a third less to compute than kxk."""
    stride = _stride(downsampling)
    layers = [
        *unit(w_in, stage.width, kernel=(1, stage.kernel), style=style, stride=(1, stride)),
        *unit(
            stage.width,
            stage.width,
            kernel=(stage.kernel, 1),
            style=style,
            stride=(stride, 1),
            pooling=_pooling(stage, downsampling),
        ),
    ]
    return nn.Sequential(*_squeezed(layers, stage))


def separable(
    w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
) -> nn.Module:
    """A convolution within each channel, then one of 1x1 across them."""
    layers = [
        *_spatial(w_in, w_in, stage, style=style, downsampling=downsampling, groups=w_in),
        *unit(w_in, stage.width, kernel=1, style=style),
    ]
    return nn.Sequential(*_squeezed(layers, stage))


class Residual(nn.Module):
    """A body and a shortcut, which is projected by 1x1 where the shape changes."""

    def __init__(
        self,
        w_in: int,
        stage: Stage,
        body: list[nn.Module],
        *,
        style: Style,
        downsampling: Downsampling,
        drop: float,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*_squeezed(body, stage))
        self.drop = StochasticDepth(drop)
        self.shortcut: nn.Module = nn.Identity()
        if w_in != stage.width or downsampling != "none":
            pooling = _pooling(stage, downsampling)
            projection = unit(
                w_in,
                stage.width,
                kernel=1,
                style=style,
                stride=_stride(downsampling),
                activate=False,
            )
            self.shortcut = nn.Sequential(*([] if pooling is None else [pooling]), *projection)
        self.activation = style.activation_layer()

    def forward(self, images: Tensor) -> Tensor:
        """Return activation(body + shortcut)."""
        output: Tensor = self.activation(self.drop(self.body(images)) + self.shortcut(images))
        return output


def residual(
    w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
) -> nn.Module:
    """Two convolutions and a shortcut."""
    body = [
        *_spatial(w_in, stage.width, stage, style=style, downsampling=downsampling),
        *unit(stage.width, stage.width, kernel=stage.kernel, style=style, activate=False),
    ]
    return Residual(w_in, stage, body, style=style, downsampling=downsampling, drop=drop)


def bottleneck(
    w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
) -> nn.Module:
    """1x1 down, k, 1x1 up, and a shortcut; the one in the middle has the stride."""
    narrow = max(1, stage.width // stage.expansion)
    body = [
        *unit(w_in, narrow, kernel=1, style=style),
        *_spatial(narrow, narrow, stage, style=style, downsampling=downsampling),
        *unit(narrow, stage.width, kernel=1, style=style, activate=False),
    ]
    return Residual(w_in, stage, body, style=style, downsampling=downsampling, drop=drop)


class Inverted(nn.Module):
    """1x1 up, a convolution within each channel, 1x1 down without activation."""

    def __init__(
        self, w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
    ) -> None:
        super().__init__()
        wide = w_in * stage.expansion
        body = unit(w_in, wide, kernel=1, style=style) if wide != w_in else []
        body += _spatial(wide, wide, stage, style=style, downsampling=downsampling, groups=wide)
        body += unit(wide, stage.width, kernel=1, style=style, activate=False)
        self.body = nn.Sequential(*_squeezed(body, stage))
        self.drop = StochasticDepth(drop)
        self.has_shortcut = w_in == stage.width and downsampling == "none"

    def forward(self, images: Tensor) -> Tensor:
        """Return the body, plus the images where the shape stays."""
        output: Tensor = self.body(images)
        return images + self.drop(output) if self.has_shortcut else output


class Inception(nn.Module):
    """1x1; 1x1 and k; 1x1 and k; pooling and 1x1: side by side, one after the other in channels.

    The third branch has the second one's kernel, as in torchvision; in the paper it has 5.
    """

    def __init__(
        self, w_in: int, stage: Stage, *, style: Style, downsampling: Downsampling, drop: float
    ) -> None:
        super().__init__()
        widths = stage.branches or Branches.of(stage.width)
        pooling, stride = _pooling(stage, downsampling), _stride(downsampling)
        self.pooling = pooling or nn.Identity()
        pairs = [
            [
                *unit(w_in, narrow, kernel=1, style=style),
                *unit(narrow, wide, kernel=stage.kernel, style=style, stride=stride),
            ]
            for narrow, wide in (widths.first, widths.second)
        ]
        pooled = [
            nn.MaxPool2d(3, stride=stride, padding=1),
            *unit(w_in, widths.pooled, kernel=1, style=style),
        ]
        point = unit(w_in, widths.point, kernel=1, style=style, stride=stride)
        self.branches = nn.ModuleList(nn.Sequential(*each) for each in (point, *pairs, pooled))
        self.squeeze = nn.Sequential(*_squeezed([], stage))

    def forward(self, images: Tensor) -> Tensor:
        """Return all branches' channels."""
        images = self.pooling(images)
        output: Tensor = self.squeeze(torch.cat([branch(images) for branch in self.branches], 1))
        return output


BLOCKS: dict[BlockKind, MakeBlock] = {
    "plain": plain,
    "residual": residual,
    "bottleneck": bottleneck,
    "nin": nin,
    "factorised": factorised,
    "separable": separable,
    "inverted": Inverted,
    "inception": Inception,
}
