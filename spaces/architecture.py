"""`Architecture`: one value that describes a convolutional network from stem to head.

Numbers of input channels are never a parameter: each layer takes what the one before it
gives. Kernels are odd, so that padding of half a kernel keeps height and width.
"""

from typing import Annotated, Literal, Self

import pydantic

from spaces.values import Value

BlockKind = Literal[
    "plain",
    "residual",
    "bottleneck",
    "nin",
    "factorised",
    "separable",
    "inverted",
    "inception",
]
Activation = Literal["relu", "silu", "gelu"]
Norm = Literal["batch", "group", "none"]
Downsampling = Literal["none", "max", "mean", "stride"]
PoolPlace = Literal["inside", "before"]
Pooling = Literal["mean", "max"]
StemKind = Literal["convolution", "whitening", "patch"]
StemPooling = Literal["none", "max"]
Classifier = Literal["linear", "nin"]
Views = Literal["one", "flip", "flip_shift"]
VIEW_COUNTS: dict[Views, int] = {"one": 1, "flip": 2, "flip_shift": 6}  # forward passes

MAX_KERNEL = 15
MAX_WIDTH = 4096
MAX_DEPTH = 64
MAX_STAGES = 16
MAX_EXPANSION = 16
MAX_GRID = 8
MIN_INCEPTION_WIDTH = 16  # channels, of which the narrowest branches get an eighth


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
Expansion = Annotated[int, pydantic.Field(ge=1, le=MAX_EXPANSION)]
Squeeze = Annotated[int, pydantic.Field(ge=0, le=MAX_WIDTH)]
Grid = Annotated[int, pydantic.Field(ge=1, le=MAX_GRID)]


class Stem(Value):
    """The first convolution: image channels to `width`, at stride 1, 2 or 4.

    A whitening stem is not trained: its filters are the principal directions of the training
    rows' patches, scaled to unit variance, each with both signs (arXiv 2404.00498). `width` is
    then the most channels; a patch of n numbers has no more than 2n. A patch stem (arXiv
    2010.11929) parts the image into squares of `stride` pixels, which is its kernel, too.

    Attributes:
        pooling: "max" halves the resolution again, over three pixels, as in ResNet.
    """

    kind: StemKind = "convolution"
    width: Width
    kernel: Kernel = 3
    stride: Literal[1, 2, 4] = 1
    pooling: StemPooling = "none"

    @pydantic.model_validator(mode="after")
    def _check_signs(self) -> Self:
        if self.kind == "whitening" and self.width % 2:
            raise ValueError(
                "a whitening stem's width must be even, a filter for each sign, "
                f"but is {self.width}"
            )
        return self


class Branches(Value):
    """Channels of an inception block's branches (GoogLeNet, arXiv 1409.4842).

    Attributes:
        point: of the 1x1 convolution.
        first: of the 1x1 convolution and of the one with the stage's kernel behind it.
        second: of another such pair.
        pooled: of the 1x1 convolution behind the pooling.
    """

    point: Width
    first: tuple[Width, Width]
    second: tuple[Width, Width]
    pooled: Width

    @property
    def width(self) -> int:
        """Channels of all branches together."""
        return self.point + self.first[1] + self.second[1] + self.pooled

    @classmethod
    def of(cls, width: int) -> Self:
        """Share out `width` channels as GoogLeNet's first such block does."""
        point, small = width // 4, width // 8
        return cls(
            point=point,
            first=(3 * width // 8, width - point - 2 * small),
            second=(width // 16, small),
            pooled=small,
        )


class Stage(Value):
    """`depth` blocks of one width; the first of them changes the resolution.

    block          | layers, each convolution with norm and activation | from
    ---------------|----------------------------------------------------|-----------------
    plain          | one convolution                                    | arXiv 1409.1556
    residual       | two, and a shortcut                                | arXiv 1512.03385
    bottleneck     | 1x1 to `width / expansion`, k, 1x1, and a shortcut | arXiv 1512.03385
    nin            | one, then two of 1x1                               | arXiv 1312.4400
    factorised     | 1xk, kx1                                           | arXiv 1512.00567
    separable      | one a channel, then 1x1                            | arXiv 1704.04861
    inverted       | 1x1 to `expansion` times the input, one a channel, | arXiv 1801.04381
                   | 1x1, and a shortcut where the shape stays          |
    inception      | four branches side by side                         | arXiv 1409.4842

    Attributes:
        expansion: of a bottleneck or inverted block.
        squeeze: factor by which a squeeze-and-excitation (arXiv 1709.01507) narrows; 0: none.
        branches: of inception blocks; None shares out the width as `Branches.of` does.
        pool: where a pooling stands that halves the resolution: behind the first block's
            (first) convolution of more than one pixel, or before the stage.
        pool_kernel: over how many pixels it goes.
    """

    block: BlockKind = "plain"
    depth: Depth
    width: Width
    kernel: Kernel = 3
    downsampling: Downsampling = "max"
    expansion: Expansion = 4
    squeeze: Squeeze = 0
    branches: Branches | None = None
    pool: PoolPlace = "inside"
    pool_kernel: Literal[2, 3] = 2

    @pydantic.model_validator(mode="after")
    def _check_branches(self) -> Self:
        if self.branches is not None and self.block != "inception":
            raise ValueError(f"only inception blocks have branches, but this one is {self.block}")
        if self.branches is not None and self.branches.width != self.width:
            raise ValueError(
                f"branches must have the stage's {self.width} channels together, "
                f"but have {self.branches.width}"
            )
        if self.block == "inception" and self.width < MIN_INCEPTION_WIDTH:
            raise ValueError(
                f"an inception block must have at least {MIN_INCEPTION_WIDTH} channels, "
                f"but has {self.width}"
            )
        return self

    @property
    def pools_before(self) -> bool:
        """Whether a pooling stands before the first block."""
        return self.downsampling in ("max", "mean") and self.pool == "before"


class Head(Value):
    """Global pooling, then hidden fully connected layers, if any, then one unit a class.

    Attributes:
        grid: pooled to so many rows and columns, all of which the layers see (AlexNet, VGG).
        classifier: "nin" halves the resolution, gives each class a channel of a last block and
            pools these (arXiv 1312.4400); there are no other layers then.
        scale: multiplies the logits; small ones train faster behind max pooling.
    """

    pooling: Pooling = "mean"
    grid: Grid = 1
    hidden: tuple[Width, ...] = ()
    classifier: Classifier = "linear"
    scale: Annotated[float, pydantic.Field(gt=0.0, le=10.0)] = 1.0

    @pydantic.model_validator(mode="after")
    def _check_classifier(self) -> Self:
        if self.classifier == "nin" and (self.hidden or self.grid > 1):
            raise ValueError(
                "a nin classifier has no hidden layers and pools to one place, "
                f"but got hidden={self.hidden} and grid={self.grid}"
            )
        return self


class Architecture(Value):
    """A network from stem to head, without its weights.

    Attributes:
        norm: behind each trained convolution; without one it has a bias.
        views: what a prediction averages: the image alone, the image and its mirror image, or
            these two at three places a pixel apart. Training always sees one.
    """

    stem: Stem
    stages: Annotated[tuple[Stage, ...], pydantic.Field(min_length=1, max_length=MAX_STAGES)]
    head: Head = Head()
    activation: Activation = "relu"
    norm: Norm = "batch"
    views: Views = "one"

    def __str__(self) -> str:
        stages = " ".join(
            f"{LETTERS[stage.block]}{stage.width}x{stage.depth}k{stage.kernel}"
            for stage in self.stages
        )
        stem = f"{STEM_LETTERS[self.stem.kind]}{self.stem.width}/{self.stem.stride}"
        hidden = "".join(f" fc{width}" for width in self.head.hidden)
        return f"{stem} {stages}{hidden}"


LETTERS: dict[BlockKind, str] = {
    "plain": "P",
    "residual": "R",
    "bottleneck": "B",
    "nin": "N",
    "factorised": "F",
    "separable": "D",
    "inverted": "I",
    "inception": "G",
}
STEM_LETTERS: dict[StemKind, str] = {"convolution": "S", "whitening": "W", "patch": "T"}
