"""A network part by part, for people: what each does, gives and costs."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from spaces.architecture import Architecture, Stage
from spaces.complexity import count
from spaces.network import build_network, stem_width


@dataclass(frozen=True, slots=True)
class Part:
    """A stem, a block, a pooling between stages, or the head.

    Attributes:
        what: its layers in words.
        shape: of what it gives for one image: (channels, height, width), or (classes,).
    """

    name: str
    what: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def parts_of(
    architecture: Architecture, *, image_shape: tuple[int, int, int], classes: int
) -> list[Part]:
    """Describe a network for images of (height, width, channels), without allocating weights."""
    height, width, channels = image_shape
    one_view = architecture.model_copy(update={"views": "one"})
    parts: list[Part] = []
    with torch.device("meta"):
        network = build_network(one_view, channels=channels, classes=classes).eval()
        maps = torch.empty(1, channels, height, width)
    for name, what, module in _named(one_view, network, channels=channels):
        cost = count(module, maps)
        with torch.no_grad():
            maps = module(maps)
        parts.append(Part(name, what, tuple(maps.shape[1:]), cost.parameters, cost.macs))
    return parts


def _named(
    architecture: Architecture, network: nn.Module, *, channels: int
) -> Iterator[tuple[str, str, nn.Module]]:
    stem = architecture.stem
    pooled = ", pooled" if stem.pooling == "max" else ""
    kernel = stem.stride if stem.kind == "patch" else stem.kernel
    width = stem_width(stem, channels=channels)
    said = f"{stem.kind} {kernel}x{kernel}, {width} channels, stride {stem.stride}{pooled}"
    yield "stem", said, network.get_submodule("stem")
    for number, stage in enumerate(architecture.stages, start=1):
        layers = list(network.get_submodule(f"stages.{number - 1}").children())
        if stage.pools_before:
            yield f"stage {number}", f"{stage.downsampling} pooling", layers.pop(0)
        for index, block in enumerate(layers, start=1):
            yield f"stage {number}.{index}", _block_text(stage, first=index == 1), block
    head = architecture.head
    grid = "globally" if head.grid == 1 else f"to {head.grid}x{head.grid}"
    hidden = "".join(f", {each} hidden" for each in head.hidden)
    last = ", nin block" if head.classifier == "nin" else ""
    yield "head", f"{head.pooling} pooling {grid}{hidden}{last}", network.get_submodule("head")


def _block_text(stage: Stage, *, first: bool) -> str:
    said = f"{stage.block} {stage.kernel}x{stage.kernel}"
    if stage.squeeze:
        said += f", squeezed by {stage.squeeze}"
    if first and stage.downsampling != "none" and not stage.pools_before:
        how = "stride 2" if stage.downsampling == "stride" else f"{stage.downsampling} pooling"
        said += f", {how}"
    return said
