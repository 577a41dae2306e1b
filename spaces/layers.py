"""The blocks that a network is made of. Activations are batches of (n, channels, height, width)."""

from torch import Tensor, nn

from spaces.architecture import Activation, Downsampling

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "gelu": nn.GELU}


def activation_layer(kind: Activation) -> nn.Module:
    """Return a new activation of the given kind."""
    return ACTIVATIONS[kind]()


def convolution(w_in: int, w_out: int, *, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size at stride 1; a norm follows, so it has no bias."""
    return nn.Conv2d(w_in, w_out, kernel, stride=stride, padding=kernel // 2, bias=False)


def halving(kind: Downsampling) -> nn.Module:
    """Return the pooling that halves height and width, rounding up; nothing for the others."""
    if kind == "max":
        return nn.MaxPool2d(2, ceil_mode=True)
    if kind == "mean":
        return nn.AvgPool2d(2, ceil_mode=True)
    return nn.Identity()


class PlainBlock(nn.Sequential):
    """Convolution, pooling where the resolution halves, norm, activation."""

    def __init__(
        self,
        w_in: int,
        w_out: int,
        *,
        kernel: int,
        downsampling: Downsampling,
        activation: Activation,
    ) -> None:
        super().__init__(
            convolution(w_in, w_out, kernel=kernel, stride=2 if downsampling == "stride" else 1),
            halving(downsampling),
            nn.BatchNorm2d(w_out),
            activation_layer(activation),
        )


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, projected by 1x1 where the shape changes."""

    def __init__(
        self,
        w_in: int,
        w_out: int,
        *,
        kernel: int,
        downsampling: Downsampling,
        activation: Activation,
    ) -> None:
        super().__init__()
        stride = 2 if downsampling == "stride" else 1
        self.body = nn.Sequential(
            convolution(w_in, w_out, kernel=kernel, stride=stride),
            halving(downsampling),
            nn.BatchNorm2d(w_out),
            activation_layer(activation),
            convolution(w_out, w_out, kernel=kernel),
            nn.BatchNorm2d(w_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if w_in != w_out or downsampling != "none":
            self.shortcut = nn.Sequential(
                halving(downsampling),
                convolution(w_in, w_out, kernel=1, stride=stride),
                nn.BatchNorm2d(w_out),
            )
        self.activation = activation_layer(activation)

    def forward(self, images: Tensor) -> Tensor:
        """Return activation(body + shortcut)."""
        output: Tensor = self.activation(self.body(images) + self.shortcut(images))
        return output


BLOCKS: dict[str, type[PlainBlock] | type[ResidualBlock]] = {
    "plain": PlainBlock,
    "residual": ResidualBlock,
}
