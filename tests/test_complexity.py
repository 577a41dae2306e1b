"""Parameters and multiplications are those counted by hand, and limits are kept."""

from typing import Any

import pytest
import torch
from torch import nn

from spaces.architecture import Architecture, Stage, Stem
from spaces.complexity import count, measure_complexity
from spaces.limits import Complexity, Limits
from spaces.network import build_network
from tests.candidates import DEFAULT, sample


def test_cost_of_a_convolution_and_a_linear_layer_counted_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(5 * 4 * 6, 7)
    )
    found = count(network, torch.zeros(1, 3, 4, 6))
    assert found.parameters == 3 * 5 * 9 + 5 * 4 * 6 * 7 + 7
    assert found.macs == 3 * 5 * 9 * 4 * 6 + 5 * 4 * 6 * 7


@pytest.mark.parametrize(("downsampling", "pixels"), [("max", 8 * 6), ("stride", 4 * 3)])
def test_cost_of_an_architecture_counted_by_hand(downsampling: Any, pixels: int) -> None:
    stage = Stage(depth=1, width=8, kernel=5, downsampling=downsampling)
    architecture = Architecture(stem=Stem(width=4), stages=(stage,))
    found = measure_complexity(architecture, image_shape=(8, 6, 3), classes=10)
    norms = 2 * 4 + 2 * 8
    assert found.parameters == 3 * 4 * 9 + 4 * 8 * 25 + norms + 8 * 10 + 10
    assert found.macs == 3 * 4 * 9 * (8 * 6) + 4 * 8 * 25 * pixels + 8 * 10


def test_measured_parameters_are_those_of_the_real_module() -> None:
    for candidate in sample(DEFAULT, n=10, side=16):
        architecture = candidate.architecture
        network = build_network(architecture, channels=3, classes=10)
        found = measure_complexity(architecture, image_shape=(16, 16, 3), classes=10)
        assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
        network.views = "one"
        real = count(network.eval(), torch.zeros(1, 3, 16, 16))
        assert found.macs == real.macs
        assert found.activations == pytest.approx(real.activations, rel=0.02)  # norms' statistics


def test_activations_are_what_is_kept_at_once_without_the_weights() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1), nn.Flatten(), nn.Linear(98, 9)
    )
    pixels, image = 7 * 7, 1  # the input is kept by whoever called
    found = count(network, torch.zeros(1, 1, 7, 7))
    assert found.activations == 4 * pixels * (image + 8 + 8)  # before and after the ReLU


@pytest.mark.parametrize(
    ("limits", "excess"),
    [
        (Limits(), {}),
        (Limits(parameters=1000), {"parameters": 0.0}),
        (Limits(parameters=500, macs=8000), {"parameters": 1.0, "macs": -0.5}),
        (Limits(activations=50, latency=1.0), {"activations": 1.0, "latency": -0.75}),
    ],
)
def test_excess_is_the_share_beyond_each_limit(limits: Limits, excess: dict[str, float]) -> None:
    assert limits.excess(Complexity(1000, 4000, activations=100, latency=0.25)) == excess
