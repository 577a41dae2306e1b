"""Filters, feature maps and Grad-CAM: against numbers worked out by hand, and against captum."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.errors import StoreError
from spaces.network import Network, build_network
from workers.batches import Normalisation
from workers.explanation import (
    Trained,
    class_maps,
    feature_maps,
    first_filters,
    load_trained,
)
from workers.fold_files import FoldFiles

PLAIN = Normalisation(mean=(0.0,), std=(1.0,))


def small() -> Trained:
    """Two filters of 1x1 and a head: every number can be worked out by hand."""
    architecture = Architecture(
        stem=Stem(kind="convolution", width=2, kernel=3),
        stages=(Stage(block="plain", depth=1, width=2, kernel=1, downsampling="none"),),
        head=Head(pooling="mean"),
        norm="none",
    )
    network = build_network(architecture, channels=1, classes=2, seed=0).eval()
    weights = [tensor for tensor in network.parameters() if tensor.ndim > 1]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        stem, stage, head = weights
        stem[0, 0, 1, 1], stem[1, 0, 1, 1] = 1.0, 2.0  # the image, and twice the image
        stage[0, 0, 0, 0], stage[1, 1, 0, 0] = 1.0, 1.0
        head.copy_(torch.tensor([[1.0, -3.0], [0.0, 4.0]]))
    return Trained(network, PLAIN)


def test_feature_maps_are_those_of_the_stem_and_each_stage() -> None:
    image = np.array([[[1], [2]], [[0], [5]]], dtype=np.uint8)
    found = feature_maps(small(), image)
    assert [each.part for each in found] == ["stem", "stage 1"]
    for each in found:
        assert each.maps.tolist() == [[[1, 2], [0, 5]], [[2, 4], [0, 10]]]


def test_first_filters_are_the_stem_s() -> None:
    filters = first_filters(small().network)
    assert filters.shape == (2, 1, 3, 3)
    assert filters[:, 0, 1, 1].tolist() == [1.0, 2.0] and filters.sum() == 3.0


def test_class_maps_are_what_was_worked_out_by_hand() -> None:
    image = np.array([[[[1], [2]], [[0], [5]]]], dtype=np.uint8)
    # Of class 1 the logit is 4 times the mean of the second map, which is twice the image: its
    # gradient by each of 4 pixels is 1, so the map is the second one. Of class 0 the gradients
    # are 1/4 and -3/4; 1/4 of the image less 3/4 of twice the image is below 0 everywhere.
    for_one = class_maps(small(), image, np.array([1]))
    assert for_one.tolist() == [[[2, 4], [0, 10]]]
    assert class_maps(small(), image, np.array([0])).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("classifier", ["linear", "nin"])
def test_class_maps_are_captum_s(classifier: str) -> None:
    architecture = Architecture.from_json(
        {
            "stem": {"kind": "convolution", "width": 6},
            "stages": [
                {"block": "residual", "depth": 2, "width": 8, "downsampling": "max"},
                {"block": "plain", "depth": 1, "width": 12, "downsampling": "stride"},
            ],
            "head": {"pooling": "mean", "classifier": classifier},
            "views": "flip",
        }
    )
    network = build_network(architecture, channels=3, classes=5, seed=3).eval()
    trained = Trained(network, Normalisation(mean=(90.0, 100.0, 110.0), std=(50.0, 60.0, 70.0)))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    classes = np.array([0, 4, 2, 2])
    theirs = LayerGradCam(one_view(network), network.stages).attribute(
        trained.inputs(images), torch.from_numpy(classes), relu_attributions=True
    )
    ours = class_maps(trained, images, classes)
    assert ours.max() > 0.0
    assert np.allclose(ours, theirs[:, 0].detach().numpy(), atol=1e-5)


def one_view(network: Network) -> nn.Module:
    class OneView(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = network.head(network.stages(network.stem(images)))
            return logits

    return OneView()


def test_a_network_is_read_back_from_a_fold_s_files(tmp_path: Path) -> None:
    trained, files = small(), FoldFiles(tmp_path)
    files.weights.write_bytes(save_tensors(dict(trained.network.state_dict())))
    architecture = Architecture(
        stem=Stem(kind="convolution", width=2, kernel=3),
        stages=(Stage(block="plain", depth=1, width=2, kernel=1, downsampling="none"),),
        head=Head(pooling="mean"),
        norm="none",
    )
    meta = {
        "candidate": {"architecture": architecture.to_json()},
        "normalisation": {"mean": [0.0], "std": [1.0]},
    }
    files.meta.write_text(json.dumps(meta))
    loaded = load_trained(files, channels=1, classes=2)
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)
    classes = np.array([1, 1, 1])
    assert (class_maps(loaded, images, classes) == class_maps(trained, images, classes)).all()
    files.weights.write_bytes(b"damaged")
    with pytest.raises(StoreError, match="a network must be readable at"):
        load_trained(files, channels=1, classes=2)
