"""Candidates that train alike are written alike, and no others."""

from typing import Any

import pytest
import torch

from spaces.architecture import Architecture, Branches, Stage, Stem
from spaces.canonical import canonical
from spaces.network import build_network
from spaces.recipe import Candidate, Recipe


def candidate(stage: dict[str, Any], recipe: dict[str, Any], **more: Any) -> Candidate:
    stages = (Stage(**{"depth": 2, "width": 16, **stage}),)
    architecture = Architecture(**{"stem": Stem(width=8), "stages": stages, **more})
    return Candidate(architecture=architecture, recipe=Recipe(**recipe))


PATCHES = [Stem(kind="patch", width=8, stride=2, kernel=kernel) for kernel in (3, 5)]
SAME: list[tuple[dict[str, Any], ...]] = [
    ({"stage": {"expansion": 6}}, {}),
    (
        {"stage": {"pool_kernel": 3, "downsampling": "stride"}},
        {"stage": {"downsampling": "stride"}},
    ),
    ({"stage": {"pool": "before", "downsampling": "none"}}, {"stage": {"downsampling": "none"}}),
    (
        {"stage": {"block": "inception", "branches": Branches.of(16), "pool": "before"}},
        {"stage": {"block": "inception"}},
    ),
    ({"stem": PATCHES[0]}, {"stem": PATCHES[1]}),
    ({"recipe": {"mixup": 0.2, "skip": 0.75}}, {"recipe": {"mixup": 0.2}}),
    (
        {"recipe": {"augmentation": "flip", "augment_until": 0.5}},
        {"recipe": {"augmentation": "flip"}},
    ),
    ({"recipe": {"stochastic_depth": 0.3}}, {}),
    ({"norm": "none", "recipe": {"norm_bias_rate": 8.0}}, {"norm": "none"}),
]
DIFFERENT: list[tuple[dict[str, Any], ...]] = [
    ({"stage": {"block": "inverted", "expansion": 6}}, {"stage": {"block": "inverted"}}),
    ({"stage": {"pool_kernel": 3}}, {}),
    ({"stage": {"pool": "before"}}, {}),
    ({"recipe": {"mixup": 0.2, "augment_until": 0.5}}, {"recipe": {"mixup": 0.2}}),
    ({"recipe": {"augment_until": 0.5}}, {}),  # shifts, by default
    ({"recipe": {"skip": 0.75}}, {}),
    ({"recipe": {"norm_bias_rate": 8.0}}, {}),
    (
        {"stage": {"block": "residual"}, "recipe": {"stochastic_depth": 0.3}},
        {"stage": {"block": "residual"}},
    ),
]


def both(pair: tuple[dict[str, Any], ...]) -> list[Candidate]:
    return [candidate(**{"stage": {}, "recipe": {}, **changes}) for changes in pair]


@pytest.mark.parametrize("pair", SAME, ids=lambda pair: str(pair[0])[:60])
def test_what_makes_no_difference_is_written_alike(pair: tuple[dict[str, Any], ...]) -> None:
    one, other = both(pair)
    assert one != other
    assert canonical(one) == canonical(other) == canonical(canonical(one))
    images = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    networks = [
        build_network(each.architecture, channels=1, classes=3, seed=0).eval()
        for each in (one, other, canonical(one))
    ]
    first, *others = (network(images) for network in networks)
    assert all(torch.equal(first, logits) for logits in others)


@pytest.mark.parametrize("pair", DIFFERENT, ids=lambda pair: str(pair[0])[:60])
def test_what_makes_a_difference_is_kept(pair: tuple[dict[str, Any], ...]) -> None:
    one, other = both(pair)
    assert canonical(one) != canonical(other)
