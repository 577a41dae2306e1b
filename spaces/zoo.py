"""Named networks as `Architecture` values, as published for images of 224 pixels.

Each has torchvision's layers, where torchvision has the network, up to three things that cost no
parameter: padding is half a kernel (torchvision's AlexNet pads its first convolution less),
poolings round up, and AlexNet's and VGG's last pooling goes straight to the grid that the fully
connected layers see.
"""

from spaces.architecture import (
    Architecture,
    BlockKind,
    Branches,
    Downsampling,
    Head,
    Stage,
    Stem,
)
from spaces.errors import SpaceError
from spaces.values import nearest

LEAST_SIDE = 4  # pixels of the last stage's maps, of smaller ones most would be padding
FULLY_CONNECTED = (4096, 4096)
Inner = tuple[int, tuple[int, int], tuple[int, int], int]


def alexnet() -> Architecture:
    """Return AlexNet (arXiv 1404.5997), the single-column form that torchvision has."""
    return Architecture(
        stem=Stem(width=64, kernel=11, stride=4, pooling="max"),
        stages=(
            Stage(depth=1, width=192, kernel=5, downsampling="none"),
            Stage(depth=1, width=384, pool="before", pool_kernel=3),
            Stage(depth=2, width=256, downsampling="none"),
        ),
        head=Head(pooling="max", grid=6, hidden=FULLY_CONNECTED),
        norm="none",
    )


def vgg(*depths: int) -> Architecture:
    """Return a network of 3x3 convolutions, so many at each resolution (arXiv 1409.1556)."""
    stages = [
        Stage(depth=depth, width=width, pool="before")
        for depth, width in zip(depths[1:], (128, 256, 512, 512), strict=True)
    ]
    if depths[0] > 1:
        stages.insert(0, Stage(depth=depths[0] - 1, width=64, downsampling="none"))
    return Architecture(
        stem=Stem(width=64),
        stages=tuple(stages),
        head=Head(pooling="max", grid=7, hidden=FULLY_CONNECTED),
        norm="none",
    )


def nin() -> Architecture:
    """Return Network in Network (arXiv 1312.4400) in the form for ImageNet."""
    return Architecture(
        stem=Stem(width=96, kernel=11, stride=4),
        stages=(
            Stage(depth=2, width=96, kernel=1, downsampling="none"),
            Stage(block="nin", depth=1, width=256, kernel=5, pool="before", pool_kernel=3),
            Stage(block="nin", depth=1, width=384, kernel=3, pool="before", pool_kernel=3),
        ),
        head=Head(classifier="nin"),
        norm="none",
    )


def googlenet() -> Architecture:
    """Return GoogLeNet (arXiv 1409.4842) with batch norm, without auxiliary classifiers."""
    widths: tuple[tuple[Downsampling, Inner], ...] = (
        ("max", (64, (96, 128), (16, 32), 32)),
        ("none", (128, (128, 192), (32, 96), 64)),
        ("max", (192, (96, 208), (16, 48), 64)),
        ("none", (160, (112, 224), (24, 64), 64)),
        ("none", (128, (128, 256), (24, 64), 64)),
        ("none", (112, (144, 288), (32, 64), 64)),
        ("none", (256, (160, 320), (32, 128), 128)),
        ("max", (256, (160, 320), (32, 128), 128)),
        ("none", (384, (192, 384), (48, 128), 128)),
    )
    inceptions = [
        Stage(
            block="inception",
            depth=1,
            width=branches.width,
            downsampling=downsampling,
            branches=branches,
            pool="before",
            pool_kernel=3,
        )
        for downsampling, branches in (
            (downsampling, Branches(point=point, first=first, second=second, pooled=pooled))
            for downsampling, (point, first, second, pooled) in widths
        )
    ]
    return Architecture(
        stem=Stem(width=64, kernel=7, stride=2, pooling="max"),
        stages=(
            Stage(depth=1, width=64, kernel=1, downsampling="none"),
            Stage(depth=1, width=192, downsampling="none"),
            *inceptions,
        ),
    )


def resnet(block: BlockKind, *depths: int) -> Architecture:
    """Return a ResNet (arXiv 1512.03385); bottlenecks have their stride in the middle."""
    width = 256 if block == "bottleneck" else 64
    stages = [
        Stage(
            block=block,
            depth=depth,
            width=width * 2**index,
            downsampling="stride" if index else "none",
        )
        for index, depth in enumerate(depths)
    ]
    return Architecture(
        stem=Stem(width=64, kernel=7, stride=2, pooling="max"), stages=tuple(stages)
    )


ZOO = {
    "alexnet": alexnet(),
    "vgg11": vgg(1, 1, 2, 2, 2),
    "vgg16": vgg(2, 2, 3, 3, 3),
    "nin": nin(),
    "googlenet": googlenet(),
    "resnet18": resnet("residual", 2, 2, 2, 2),
    "resnet34": resnet("residual", 3, 4, 6, 3),
    "resnet50": resnet("bottleneck", 3, 4, 6, 3),
    "resnet152": resnet("bottleneck", 3, 8, 36, 3),
}


def named(name: str, *, side: int | None = None) -> Architecture:
    """Return a named network, fitted to images whose shorter side is `side` pixels, if given.

    Raises:
        SpaceError: there is no network of that name.
    """
    if name not in ZOO:
        raise SpaceError(f"there is no network named {name!r}; {nearest(name, list(ZOO))}")
    return ZOO[name] if side is None else fitted(ZOO[name], side=side)


def fitted(architecture: Architecture, *, side: int) -> Architecture:
    """Return a network for images of `side` pixels, whose last maps have at least four.

    From the image on, what reduces the resolution is taken out until that holds: the stem's stride,
    whose kernel is 3 then, its pooling, the stages' poolings and strides. The head's grid is at
    most as large as the last map.
    """
    stem, stages = architecture.stem, list(architecture.stages)
    while stem.stride > 1 and last_side(stem, stages, side=side) < LEAST_SIDE:
        stride = {4: 2, 2: 1}[stem.stride]
        stem = stem.model_copy(update={"stride": stride, "kernel": 3})
    if stem.pooling != "none" and last_side(stem, stages, side=side) < LEAST_SIDE:
        stem = stem.model_copy(update={"pooling": "none"})
    for index, stage in enumerate(stages):
        if last_side(stem, stages, side=side) < LEAST_SIDE:
            stages[index] = stage.model_copy(update={"downsampling": "none"})
    grid = min(architecture.head.grid, last_side(stem, stages, side=side))
    head = architecture.head.model_copy(update={"grid": grid})
    return architecture.model_copy(update={"stem": stem, "stages": tuple(stages), "head": head})


def last_side(stem: Stem, stages: list[Stage], *, side: int) -> int:
    """Return the side of the last stage's maps, for images of `side` pixels."""
    side = -(-side // stem.stride)
    halvings = (stem.pooling != "none") + sum(stage.downsampling != "none" for stage in stages)
    for _ in range(halvings):
        side = -(-side // 2)
    return side
