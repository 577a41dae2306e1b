"""Layers do what their names say, counted by hand."""

from typing import Any

import pytest
import torch
from torch import nn

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.layers import halving
from spaces.network import Network, build_network, diagonal_shifts

MAPS = torch.tensor([[[[1.0, 2.0], [3.0, 10.0]], [[-4.0, 0.0], [0.0, 2.0]]]])


def network_of(stage: Stage, *, head: Head | None = None, **stem: Any) -> Network:
    made = Architecture(stem=Stem(**{"width": 4, **stem}), stages=(stage,), head=head or Head())
    return build_network(made, channels=1, classes=2, seed=0).eval()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (Head(pooling="mean"), [4.0, -0.5]),
        (Head(pooling="max"), [10.0, 2.0]),
        (Head(pooling="max", scale=0.25), [2.5, 0.5]),
    ],
)
def test_a_head_keeps_of_each_map_what_it_says(head: Head, expected: list[float]) -> None:
    network = network_of(Stage(depth=1, width=2), head=head)
    linear = network.head.layers[-1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
        linear.bias.zero_()
        assert network.head(MAPS).tolist() == [expected]


@pytest.mark.parametrize(("pooling", "corner"), [("mean", 7.0), ("max", 14.0)])
def test_a_head_s_grid_pools_its_own_corner(pooling: Any, corner: float) -> None:
    network = network_of(Stage(depth=1, width=1), head=Head(pooling=pooling, grid=2))
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 2:, 2:] = torch.tensor([[14.0, 0.0], [0.0, 14.0]])
    assert network.head._pooled(maps).tolist() == [[0.0, 0.0, 0.0, corner]]


@pytest.mark.parametrize(
    ("kernel", "first", "last"), [(2, 3.0, 24.0), (3, 3.0, 21.0)], ids=["2x2", "3x3"]
)
def test_mean_pooling_counts_pixels_of_the_image_alone(
    kernel: int, first: float, last: float
) -> None:
    pooling = halving("mean", kernel=kernel)
    assert pooling is not None
    found = pooling(torch.arange(25.0).reshape(1, 1, 5, 5))[0, 0]
    assert found.shape == (3, 3)
    assert found[0, 0].item() == pytest.approx(first) and found[-1, -1].item() == last


@pytest.mark.parametrize("width", [4, 8])
def test_an_inverted_residual_adds_its_images_where_the_shape_stays(width: int) -> None:
    """Without its body, the block is what its shortcut is."""
    stage = Stage(block="inverted", depth=1, width=width, downsampling="none")
    network = network_of(stage)
    (block,) = (m for m in network.modules() if type(m).__name__ == "Inverted")
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)
    images = torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        output = block(images)
    assert torch.equal(output, images if width == 4 else torch.zeros(2, 8, 6, 6))


def test_shifted_views_are_moved_along_both_diagonals() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    found = [view[0, 0].tolist() for view in diagonal_shifts(image)]
    up = [[0, 0, 1, 2], [0, 0, 1, 2], [4, 4, 5, 6]]  # the image went down and right
    down = [[5, 6, 7, 7], [9, 10, 11, 11], [9, 10, 11, 11]]
    assert sorted(found) == sorted([up, down])
