"""Named networks are torchvision's, layer for layer, and fit small images by one rule."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from spaces.complexity import count, measure_complexity
from spaces.errors import SpaceError
from spaces.network import build_network
from spaces.zoo import LEAST_SIDE, ZOO, fitted, last_side, named

AS_TORCHVISION = sorted(set(ZOO) - {"nin"})
PADDED = {"alexnet": 1.15}  # of torchvision's MACs: 56, 28 and 14 pixels in place of 55, 27, 13


def torchvision_model(name: str) -> nn.Module:
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model: nn.Module = getattr(torchvision.models, name)(weights=None, **more)
    return model.eval()


@pytest.mark.parametrize("name", AS_TORCHVISION)
def test_a_named_network_has_torchvisions_parameters_and_macs(name: str) -> None:
    with torch.device("meta"):
        theirs = count(torchvision_model(name), torch.empty(1, 3, 224, 224))
    ours = measure_complexity(ZOO[name], image_shape=(224, 224, 3), classes=1000)
    assert ours.parameters == theirs.parameters
    assert theirs.macs <= ours.macs <= PADDED.get(name, 1.0) * theirs.macs


def test_network_in_network_has_the_layers_of_its_paper() -> None:
    with torch.device("meta"):
        network = build_network(ZOO["nin"], channels=3, classes=1000)
    found = [(c.out_channels, c.kernel_size[0]) for c in convolutions(network)]
    blocks = [(96, 11), (256, 5), (384, 3), (1000, 3)]
    assert found == [layer for width, k in blocks for layer in ((width, k), (width, 1), (width, 1))]


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "resnet50", "vgg11"])
def test_with_torchvisions_weights_a_named_network_predicts_what_theirs_does(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision_model(name)
    ours = build_network(ZOO[name], channels=3, classes=1000).eval()
    copy_in_order(theirs, ours)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected, found = theirs(image), ours(image)
    assert expected.std() > 0.0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))


def copy_in_order(theirs: nn.Module, ours: nn.Module) -> None:
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    pairs = zip(
        (module for module in theirs.modules() if isinstance(module, kinds)),
        (module for module in ours.modules() if isinstance(module, kinds)),
        strict=True,
    )
    for source, target in pairs:
        assert type(source) is type(target)
        target.load_state_dict(source.state_dict())
        if isinstance(source, nn.BatchNorm2d) and isinstance(target, nn.BatchNorm2d):
            target.eps = source.eps


@pytest.mark.parametrize("name", sorted(ZOO))
@pytest.mark.parametrize("side", [28, 64, 224])
def test_a_fitted_network_keeps_its_last_maps_large_enough(name: str, side: int) -> None:
    network = fitted(ZOO[name], side=side)
    last = last_side(network.stem, list(network.stages), side=side)
    assert last >= LEAST_SIDE and network.head.grid <= max(last, 1)
    if side == 224:
        assert network == ZOO[name]
    with torch.device("meta"):
        built = build_network(network, channels=1, classes=10).eval()
        features: Tensor = built.stages(built.stem(torch.empty(1, 1, side, side)))
        assert features.shape[2:] == (last, last)
        assert built(torch.empty(1, 1, side, side)).shape == (1, 10)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpaceError, match="no network named 'resnet19'; did you mean 'resnet18'"):
        named("resnet19")
    assert named("resnet18") == ZOO["resnet18"] != named("resnet18", side=32)
