"""Schedules warm up and anneal; biases and norms do not decay."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spaces.architecture import Norm
from spaces.network import Network, build_network
from spaces.recipe import Optimizer, Recipe, Schedule
from tests.training.harness import ARCHITECTURE
from workers.optimization import NORMS, learning_rate_factor, make_optimizer

GRID = np.linspace(0.0, 1.0, 2001)


def factors(schedule: Schedule) -> NDArray[np.float64]:
    return np.array([learning_rate_factor(schedule, float(at)) for at in GRID])


@pytest.mark.parametrize(
    ("schedule", "peak", "end"),
    [
        ("triangular", 0.2, 0.0),
        ("cosine", 0.05, 0.0),
        ("constant", 0.05, 1.0),
        ("step", 0.05, 0.01),
    ],
)
def test_each_schedule_warms_up_to_its_peak_and_then_never_rises(
    schedule: Schedule, peak: float, end: float
) -> None:
    values = factors(schedule)
    assert values[0] == 0.0 and values.max() == pytest.approx(1.0)
    assert values[-1] == pytest.approx(end, abs=1e-9)
    assert GRID[values.argmax()] == pytest.approx(peak, abs=1e-3)
    rising = GRID[1:] <= peak
    assert (np.diff(values)[rising] > 0).all() and (np.diff(values)[~rising] <= 1e-12).all()


@pytest.mark.parametrize("schedule", ["triangular", "cosine", "constant"])
def test_smooth_schedules_do_not_jump(schedule: Schedule) -> None:
    steepest = 1.0 / 0.05  # the warm-up
    assert np.abs(np.diff(factors(schedule))).max() <= steepest * GRID[1] * 1.001


def test_the_triangle_is_straight_and_the_cosine_is_half_way_in_the_middle() -> None:
    assert learning_rate_factor("triangular", 0.1) == pytest.approx(0.5)
    assert learning_rate_factor("triangular", 0.6) == pytest.approx(0.5)
    assert learning_rate_factor("cosine", 0.525) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("progress", "factor"), [(0.05, 1.0), (0.49, 1.0), (0.5, 0.1), (0.74, 0.1), (0.75, 0.01)]
)
def test_the_step_schedule_drops_tenfold_twice(progress: float, factor: float) -> None:
    assert learning_rate_factor("step", progress) == pytest.approx(factor)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_and_norms_do_not_decay(optimizer: Optimizer) -> None:
    network = build_network(ARCHITECTURE, channels=1, classes=10, seed=0)
    recipe = Recipe(optimizer=optimizer, learning_rate=0.5, weight_decay=0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    make_optimizer(network, recipe).step()
    kinds = set()
    for name, parameter in network.named_parameters():
        exempt = parameter.ndim == 1
        kinds.add(exempt)
        assert (parameter == 1.0).all() if exempt else (parameter < 1.0).all(), name
    assert kinds == {True, False}


def rates(network: Network, recipe: Recipe) -> dict[str, float]:
    groups = make_optimizer(network, recipe).param_groups
    factors = {id(p): float(group["rate_factor"]) for group in groups for p in group["params"]}
    return {name: factors[id(p)] for name, p in network.named_parameters() if id(p) in factors}


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_layers_farther_from_the_head_learn_at_another_rate(factor: float) -> None:
    network = build_network(ARCHITECTURE, channels=1, classes=10)
    recipe = Recipe(layer_rate_factor=factor, norm_bias_rate=8.0)
    plain = rates(network, Recipe(norm_bias_rate=8.0))
    stages = len(ARCHITECTURE.stages)
    for name, rate in rates(network, recipe).items():
        part, *rest = name.split(".")
        distance = {"stem": stages + 1, "head": 0}.get(part) if part != "stages" else None
        distance = stages - int(rest[0]) if distance is None else distance
        assert rate == pytest.approx(plain[name] * factor**distance), name


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_biases_of_every_norm_have_their_rate(norm: Norm) -> None:
    network = build_network(ARCHITECTURE.model_copy(update={"norm": norm}), channels=1, classes=10)
    norms = [name for name, each in network.named_modules() if isinstance(each, NORMS)]
    found = rates(network, Recipe(norm_bias_rate=8.0))
    assert norms and {name for name, rate in found.items() if rate == 8.0} == {
        f"{name}.bias" for name in norms
    }
