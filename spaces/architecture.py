"""`Architecture`: one value that describes a convolutional network from stem to head.

Numbers of input channels are never a parameter: each layer takes what the one before it
gives. Kernels are odd, so that padding of half a kernel keeps height and width.
"""

from typing import Annotated, Literal, Self

import pydantic

from spaces.values import Value

BlockKind = Literal["plain", "residual"]
Activation = Literal["relu", "silu", "gelu"]
Downsampling = Literal["none", "max", "mean", "stride"]
Pooling = Literal["mean", "max"]
StemKind = Literal["convolution", "whitening"]
Views = Literal["one", "flip", "flip_shift"]
VIEW_COUNTS: dict[Views, int] = {"one": 1, "flip": 2, "flip_shift": 6}  # forward passes

MAX_KERNEL = 15
MAX_WIDTH = 4096
MAX_DEPTH = 64
MAX_STAGES = 8


def check_kernel(kernel: int) -> int:
    """Return `kernel` if it is odd and from 1 to 15, else raise `ValueError`."""
    if kernel % 2 == 0:
        raise ValueError(f"a kernel must be odd so that padding keeps the size, but got {kernel}")
    if not 1 <= kernel <= MAX_KERNEL:
        raise ValueError(f"a kernel must lie in 1..{MAX_KERNEL}, but got {kernel}")
    return kernel


Kernel = Annotated[int, pydantic.AfterValidator(check_kernel)]
Width = Annotated[int, pydantic.Field(ge=1, le=MAX_WIDTH)]
Depth = Annotated[int, pydantic.Field(ge=1, le=MAX_DEPTH)]


class Stem(Value):
    """The first convolution: image channels to `width`, at stride 1 or 2.

    A whitening stem is not trained: its filters are the principal directions of the training
    rows' patches, scaled to unit variance, each with both signs (arXiv 2404.00498). `width` is
    then the most channels; a patch of n numbers has no more than 2n.
    """

    kind: StemKind = "convolution"
    width: Width
    kernel: Kernel = 3
    stride: Literal[1, 2] = 1

    @pydantic.model_validator(mode="after")
    def _check_signs(self) -> Self:
        if self.kind == "whitening" and self.width % 2:
            raise ValueError(
                "a whitening stem's width must be even, a filter for each sign, "
                f"but is {self.width}"
            )
        return self


class Stage(Value):
    """`depth` blocks of one width; the first of them changes the resolution.

    A plain block is one convolution (VGG, arXiv 1409.1556), a residual block two with a
    shortcut (ResNet, arXiv 1512.03385).
    """

    block: BlockKind = "plain"
    depth: Depth
    width: Width
    kernel: Kernel = 3
    downsampling: Downsampling = "max"


class Head(Value):
    """Global pooling, then hidden fully connected layers, if any, then one unit a class.

    Attributes:
        scale: multiplies the logits; small ones train faster behind max pooling.
    """

    pooling: Pooling = "mean"
    hidden: tuple[Width, ...] = ()
    scale: Annotated[float, pydantic.Field(gt=0.0, le=10.0)] = 1.0


class Architecture(Value):
    """A network from stem to head, without its weights.

    Attributes:
        views: what a prediction averages: the image alone, the image and its mirror image, or
            these two at three places a pixel apart. Training always sees one.
    """

    stem: Stem
    stages: Annotated[tuple[Stage, ...], pydantic.Field(min_length=1, max_length=MAX_STAGES)]
    head: Head = Head()
    activation: Activation = "relu"
    views: Views = "one"

    def __str__(self) -> str:
        stages = " ".join(
            f"{'R' if stage.block == 'residual' else 'P'}{stage.width}x{stage.depth}k{stage.kernel}"
            for stage in self.stages
        )
        kind = "W" if self.stem.kind == "whitening" else "S"
        stem = f"{kind}{self.stem.width}/{self.stem.stride}"
        hidden = "".join(f" fc{width}" for width in self.head.hidden)
        return f"{stem} {stages}{hidden}"
