"""Networks begin with torchvision's weights, and what is frozen keeps them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import get_model_weights

from spaces.errors import SpaceError
from spaces.network import Network, build_network
from spaces.points import prior_of
from spaces.reading import read_space
from spaces.recipe import Candidate
from spaces.zoo import named
from workers.device import DevicePlan
from workers.pretrained import load_pretrained
from workers.rows import Rows
from workers.training import Training


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache, in which somebody has weights of some networks."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def keep(folder: Path, name: str) -> nn.Module:
    """Save a model with random weights and statistics as torchvision does; return it."""
    torch.manual_seed(1)
    model: nn.Module = getattr(torchvision.models, name)(weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    torch.save(model.state_dict(), folder / Path(get_model_weights(name).DEFAULT.url).name)
    return model.eval()


def begun(name: str, *, side: int, channels: int = 3, **keys: Any) -> tuple[Network, Candidate]:
    """Return the network that a search around a named one begins with, and its candidate."""
    space = read_space({"kind": "scaled", "base": name, "weights": "torchvision", **keys})
    candidate = prior_of(space, size=1.0, side=side)
    network = build_network(candidate.architecture, channels=channels, classes=10, seed=0)
    assert candidate.recipe.weights is not None
    load_pretrained(network, candidate.recipe.weights)
    return network.eval(), candidate


def test_features_are_those_of_torchvisions_model(cached: Path) -> None:
    theirs = keep(cached, "resnet18")
    network, _ = begun("resnet18", side=224)
    image = torch.randn(1, 3, 224, 224)
    features = nn.Sequential(*list(theirs.children())[:-2])
    with torch.no_grad():
        expected, found = features(image), network.stages(network.stem(image))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_grey_small_images_see_the_middle_of_the_filters_summed_over_colours(cached: Path) -> None:
    theirs = keep(cached, "resnet18")
    network, _ = begun("resnet18", side=28, channels=1)
    first, filters = network.stem[0], theirs.state_dict()["conv1.weight"]
    assert isinstance(first, nn.Conv2d)
    torch.testing.assert_close(first.weight, filters[:, :, 2:5, 2:5].sum(1, keepdim=True))


def test_fully_connected_layers_of_other_sizes_and_the_last_one_are_new(cached: Path) -> None:
    theirs = keep(cached, "vgg11")
    network, candidate = begun("vgg11", side=32)
    fresh = build_network(candidate.architecture, channels=3, classes=10, seed=0)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    untouched = [m for m in fresh.modules() if isinstance(m, nn.Linear)]
    known = [m for m in theirs.modules() if isinstance(m, nn.Linear)]
    assert torch.equal(linear[0].weight, untouched[0].weight)  # of 4x4 maps in place of 7x7
    assert torch.equal(linear[1].weight, known[1].weight)
    assert torch.equal(linear[2].weight, untouched[2].weight)


@pytest.mark.parametrize("frozen", [0, 2])
def test_what_is_frozen_keeps_weights_and_statistics(frozen: int, cached: Path) -> None:
    keep(cached, "resnet18")
    network, candidate = begun("resnet18", side=16, channels=1, frozen=[frozen])
    recipe = candidate.recipe.model_copy(update={"batch_size": 8, "epochs": 1})
    assert recipe.frozen == frozen
    images = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 1), dtype=np.uint8)
    rows = Rows(images, np.arange(24) % 10, images, np.arange(24) % 10, 10)
    training = Training(
        candidate.model_copy(update={"recipe": recipe}), rows, plan=DevicePlan(), seed=0, rung=1
    )
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    before, after = network.state_dict(), training.network.state_dict()
    parts = ["stem.", *(f"stages.{index}." for index in range(4))]
    for index, part in enumerate(parts):
        names = [name for name in before if name.startswith(part) and "tracked" not in name]
        same = [torch.equal(before[name], after[name]) for name in names]
        assert all(same) if index < frozen else not any(same)


def test_a_file_of_weights_may_lie_anywhere(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = keep(cached, "resnet18")
    save_file(theirs.state_dict(), cached / "mine.safetensors")
    monkeypatch.chdir(cached)
    network, candidate = begun("resnet18", side=64, weights="mine.safetensors")
    assert candidate.recipe.weights == f"resnet18:{cached}/mine.safetensors"
    own = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    known = [m for m in theirs.modules() if isinstance(m, nn.Conv2d)]
    assert torch.equal(own[5].weight, known[5].weight)


def test_what_is_missing_or_another_networks_is_refused(cached: Path) -> None:
    state = keep(cached, "resnet18").state_dict()
    save_file(state, cached / "resnet18.safetensors")
    (cached / "resnet50-11ad3fa6.pth").write_bytes(b"nothing")
    (cached / "resnet152-0.pth").write_bytes(b"nothing")
    (cached / "nothing.safetensors").write_bytes(b"nothing")
    for name, weights, reason in (
        ("vgg16", "torchvision", r"there is no vgg16-\*.pth in"),
        ("resnet50", "torchvision", "must be the state of resnet50: torchvision: "),
        ("resnet152", "torchvision", "must have weights of resnet152 that torchvision knows"),
        ("resnet34", f"{cached}/resnet18.safetensors", "have no layer1.2.conv1.weight"),
        ("resnet18", f"{cached}/nothing.safetensors", "must be the state of resnet18: /"),
        ("resnet18", f"{cached}/none.safetensors", "must be a file, but /"),
    ):
        network = build_network(named(name, side=32), channels=3, classes=10)
        with pytest.raises(SpaceError, match=reason):
            load_pretrained(network, f"{name}:{weights}")
    resnet = build_network(named("resnet18", side=32), channels=2, classes=10)
    with pytest.raises(SpaceError, match="need a layer of"):
        load_pretrained(resnet, "resnet18:torchvision")
    space = read_space({"kind": "scaled", "base": "vgg16", "weights": "torchvision"})
    with pytest.raises(SpaceError, match="must be in torch's cache"):
        space.check()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"base": "nin", "weights": "torchvision"}, "pretrained weights are for alexnet"),
        ({"base": "resnet18", "weights": "mine.pth"}, "'torchvision' or a .safetensors file, but"),
        ({"base": "resnet18", "frozen": [1]}, "frozen parts need weights"),
        (
            {"base": "resnet18", "weights": "torchvision", "widths": [0.5]},
            "the layers must be the network's own, but got widths",
        ),
        (
            {"base": "resnet18", "weights": "torchvision", "norms": ["group"]},
            "the layers must be the network's own, but got norms",
        ),
    ],
)
def test_weights_fit_but_their_own_network(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError) as refusal:
        read_space({"kind": "scaled", **keys})
    assert said in str(refusal.value)
