"""Every block, norm, pooling, stem and head trains a step, exports, and keeps to its shapes."""

import copy
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spaces.architecture import (
    Activation,
    Architecture,
    BlockKind,
    Branches,
    Downsampling,
    Head,
    Norm,
    Pooling,
    PoolPlace,
    Stage,
    Stem,
    StemKind,
    StemPooling,
)
from spaces.complexity import measure_complexity
from spaces.errors import SpaceError
from spaces.layers import StochasticDepth
from spaces.network import build_network, drop_rates

BLOCK_KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
CLASSES = 3


def among(literal: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(literal))


stems = st.builds(
    Stem,
    kind=among(StemKind),
    width=st.sampled_from([4, 10]),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 4]),
    pooling=among(StemPooling),
)
stages = st.builds(
    Stage,
    block=among(BlockKind),
    depth=st.integers(1, 2),
    width=st.sampled_from([16, 24]),
    kernel=st.sampled_from([1, 3, 5]),
    downsampling=among(Downsampling),
    expansion=st.sampled_from([1, 3]),
    squeeze=st.sampled_from([0, 4]),
    pool=among(PoolPlace),
    pool_kernel=st.sampled_from([2, 3]),
)
heads = st.builds(
    Head, pooling=among(Pooling), grid=st.integers(1, 3), hidden=st.sampled_from([(), (5, 6)])
) | st.builds(Head, pooling=among(Pooling), classifier=st.just("nin"))
architectures = st.builds(
    Architecture,
    stem=stems,
    stages=st.lists(stages, min_size=1, max_size=3).map(tuple),
    head=heads,
    activation=among(Activation),
    norm=among(Norm),
)


def check(architecture: Architecture, *, side: int, channels: int) -> None:
    """Train a step, export, and compare what the export gives."""
    network = build_network(
        architecture, channels=channels, classes=CLASSES, stochastic_depth=0.5, seed=0
    )
    images = torch.randn(4, channels, side, side, generator=torch.Generator().manual_seed(1))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loss = nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0]))
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)
    network.eval()
    exported = torch.export.export(copy.deepcopy(network), (images,)).module()
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (4, CLASSES)
        torch.testing.assert_close(exported(images), logits)


@given(
    architecture=architectures, side=st.sampled_from([28, 9, 5]), channels=st.sampled_from([1, 3])
)
@settings(deadline=None, max_examples=12)
def test_any_network_trains_and_exports(
    architecture: Architecture, side: int, channels: int
) -> None:
    check(architecture, side=side, channels=channels)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", get_args(Downsampling))
@pytest.mark.parametrize("norm", get_args(Norm))
@pytest.mark.parametrize("block", BLOCK_KINDS)
def test_every_combination_trains_and_exports(block: Any, norm: Any, pooling: Any) -> None:
    for head in (Head(), Head(grid=2, hidden=(5,)), Head(pooling="max"), Head(classifier="nin")):
        stage = Stage(block=block, depth=2, width=16, downsampling=pooling, squeeze=4)
        architecture = Architecture(stem=Stem(width=8), stages=(stage,), head=head, norm=norm)
        check(architecture, side=12, channels=1)


def convolutions(block: BlockKind, *, width: int = 32, **more: Any) -> list[tuple[Any, ...]]:
    stage = Stage(block=block, depth=1, width=width, downsampling="none", **more)
    architecture = Architecture(stem=Stem(width=16), stages=(stage,))
    network = build_network(architecture, channels=1, classes=2)
    return [
        (c.in_channels, c.out_channels, c.kernel_size, c.groups)
        for c in network.stages.modules()
        if isinstance(c, nn.Conv2d)
    ]


K1, K3 = (1, 1), (3, 3)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("plain", [(16, 32, K3, 1)]),
        ("residual", [(16, 32, K3, 1), (32, 32, K3, 1), (16, 32, K1, 1)]),
        ("bottleneck", [(16, 8, K1, 1), (8, 8, K3, 1), (8, 32, K1, 1), (16, 32, K1, 1)]),
        ("nin", [(16, 32, K3, 1), (32, 32, K1, 1), (32, 32, K1, 1)]),
        ("factorised", [(16, 32, (1, 3), 1), (32, 32, (3, 1), 1)]),
        ("separable", [(16, 16, K3, 16), (16, 32, K1, 1)]),
        ("inverted", [(16, 64, K1, 1), (64, 64, K3, 64), (64, 32, K1, 1)]),
        (
            "inception",
            [
                (16, 8, K1, 1),
                (16, 12, K1, 1),
                (12, 16, K3, 1),
                (16, 2, K1, 1),
                (2, 4, K3, 1),
                (16, 4, K1, 1),
            ],
        ),
    ],
)
def test_a_block_has_the_convolutions_of_its_paper(block: BlockKind, expected: list[Any]) -> None:
    assert convolutions(block) == expected


def test_two_factors_cost_a_third_less_than_a_square() -> None:
    def macs(block: BlockKind, depth: int) -> int:
        stage = Stage(block=block, depth=depth, width=16, downsampling="none")
        architecture = Architecture(stem=Stem(width=16), stages=(stage,))
        return measure_complexity(architecture, image_shape=(8, 8, 1), classes=2).macs

    one, other = (macs(kind, 2) - macs(kind, 1) for kind in ("plain", "factorised"))
    assert other * 3 == one * 2


def test_branches_share_out_the_width_as_googlenets_first_block_does() -> None:
    first = Branches(point=64, first=(96, 128), second=(16, 32), pooled=32)
    assert Branches.of(256) == first
    assert all(Branches.of(width).width == width for width in range(16, 300))


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"block": "plain", "branches": Branches.of(16).to_json()}, "only inception blocks have"),
        ({"block": "inception", "width": 32, "branches": Branches.of(16).to_json()}, "have 16"),
        ({"block": "inception", "width": 8}, "at least 16 channels, but has 8"),
        ({"pool_kernel": 4}, "pool_kernel"),
    ],
)
def test_stages_that_cannot_be_built_are_refused(stage: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError) as refusal:
        Stage.from_json({"depth": 1, "width": 16, **stage})
    assert said in str(refusal.value)


def test_bodies_are_dropped_for_some_images_and_kept_on_average() -> None:
    torch.manual_seed(0)
    layer, body = StochasticDepth(0.25).train(), torch.ones(4000, 1, 2, 2)
    dropped = layer(body)
    per_image = dropped.flatten(1)
    assert ((per_image == 0).all(1) | (per_image == 1 / 0.75).all(1)).all()
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(body), body)


def test_later_blocks_are_dropped_more_often() -> None:
    two = Stage(block="residual", depth=2, width=8)
    architecture = Architecture(stem=Stem(width=8), stages=(two, two))
    assert drop_rates(architecture, last=0.4) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    network = build_network(architecture, channels=1, classes=2, stochastic_depth=0.4)
    built = [m.rate for m in network.modules() if isinstance(m, StochasticDepth)]
    assert built == pytest.approx([0.1, 0.2, 0.3, 0.4])
