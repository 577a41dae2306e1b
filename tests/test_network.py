"""Every sampled network trains; its shapes and weights are those of its architecture."""

import pytest
import torch
from torch import Tensor, nn

from spaces.architecture import Architecture, Stage, Stem
from spaces.cnn import MIN_SIDE, CnnSpace
from spaces.network import build_network, stem_width
from tests.candidates import DEFAULT, FREE, SIMPLE, SMALL, residual, sample


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [28, 8])
@pytest.mark.parametrize("space", [DEFAULT, FREE], ids=["default", "free"])
def test_any_candidate_trains_a_step(space: CnnSpace, side: int, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, channels, side, side, generator=generator)
    labels = torch.tensor([0, 1, 2, 3])
    for candidate in sample(space, n=6, seed=side + channels, side=side):
        network = build_network(
            candidate.architecture,
            channels=channels,
            classes=5,
            dropout=candidate.recipe.dropout,
            seed=0,
        )
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.01)
        loss = nn.functional.cross_entropy(network(images), labels)
        torch.autograd.backward(loss)
        assert all(parameter.grad is not None for parameter in trained)
        optimizer.step()
        assert torch.isfinite(nn.functional.cross_entropy(network(images), labels))


@pytest.mark.parametrize("shape", [(28, 28), (33, 33), (8, 8), (9, 28), (5, 5), (2, 2), (1, 1)])
def test_widths_double_exactly_where_the_resolution_halves(shape: tuple[int, int]) -> None:
    for candidate in sample(SMALL, n=15, side=min(shape)):
        architecture = candidate.architecture
        network = build_network(architecture, channels=1, classes=2).eval()
        features: Tensor = network.stem(torch.zeros(1, 1, *shape))
        assert features.shape[1] == stem_width(architecture.stem, channels=1)
        for index, stage in enumerate(network.stages):
            before, features = features.shape, stage(features)
            after = features.shape
            halved = (-(-before[2] // 2), -(-before[3] // 2))
            if after[2:] == before[2:]:
                assert after[1] == before[1] or index == 0
            else:
                assert after[2:] == halved and min(before[2:]) > MIN_SIDE
                assert index == 0 or after[1] == before[1] * 2
        assert after[1] == architecture.stages[-1].width


@pytest.mark.parametrize(
    ("stages", "projections"),
    [
        ((residual(8, depth=3),), 0),
        ((residual(12, depth=3),), 1),
        ((residual(8, downsampling="max", depth=3),), 1),
        ((residual(8, downsampling="stride"), residual(8), residual(16)), 2),
        ((Stage(depth=2, width=16),), 0),
    ],
    ids=["same shape", "width", "resolution", "three stages", "plain"],
)
def test_a_residual_block_projects_only_where_the_shape_changes(
    stages: tuple[Stage, ...], projections: int
) -> None:
    architecture = Architecture(stem=Stem(width=8), stages=stages)
    network = build_network(architecture, channels=1, classes=2)
    kernels = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert kernels.count((1, 1)) == projections


def weights(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())


def test_weights_depend_on_the_seed_alone() -> None:
    architecture = sample(DEFAULT, n=1)[0].architecture
    first = build_network(architecture, channels=3, classes=4, seed=5)
    torch.rand(3)
    second = build_network(architecture, channels=3, classes=4, seed=5)
    other = build_network(architecture, channels=3, classes=4, seed=6)
    assert all(map(torch.equal, weights(first), weights(second)))
    assert not all(map(torch.equal, weights(first), weights(other)))


def test_a_seeded_build_leaves_the_random_state_of_torch_alone() -> None:
    before = torch.random.get_rng_state()
    build_network(SIMPLE, channels=1, classes=2, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
