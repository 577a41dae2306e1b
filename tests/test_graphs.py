"""Networks of every kind as graphs: with views, temperature, numbers far from zero."""

from pathlib import Path

import numpy as np
import pytest
import torch

from search.stacking import Stack
from spaces.architecture import Views
from spaces.errors import JobFailed
from spaces.network import window_maxima
from tests.planted_model import IMAGES, model_of
from tests.refusals import one_line
from workers import graphs
from workers.deployment import Deployed
from workers.standalone import ONNX, PROGRAM, load
from workers.targets import TargetScale


@pytest.mark.parametrize("views", ["one", "flip", "flip_shift"])
def test_a_deployed_ensemble_says_what_its_networks_say(views: Views) -> None:
    model = model_of(views, temperature=0.4)
    with torch.inference_mode():
        found = Deployed(model)(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(found, model.predict(IMAGES), atol=1e-6)
    plain = model_of("one", temperature=0.4).predict(IMAGES)
    assert views == "one" or np.abs(found - plain).max() > 1e-3


def test_a_deployed_stack_says_what_the_stack_says() -> None:
    members = ("trial-0", "trial-1")
    stack = Stack(members=members, weights=(1.4, -0.3), biases=(0.2, -0.1, 0.0, -0.1))
    model = model_of("one", temperature=0.7, stack=stack)
    with torch.inference_mode():
        found = Deployed(model)(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(found, model.predict(IMAGES), atol=1e-6)
    scale = TargetScale(mean=1000.0, std=10.0)
    model = model_of(
        "one", scale=scale, stack=Stack(members=members, weights=(1.4, -0.3), biases=(9.0,))
    )
    with torch.inference_mode():
        found = Deployed(model)(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(found, model.predict(IMAGES), rtol=1e-7)


def test_classes_as_graphs(tmp_path: Path) -> None:
    model = model_of("flip_shift", temperature=0.4)
    expected = model.predict(IMAGES)
    graphs.write_onnx(model, tmp_path)
    graphs.write_program(model, tmp_path)
    for name in (ONNX, PROGRAM):
        predict = load(tmp_path / name)
        for rows in (1, 5):
            np.testing.assert_allclose(predict(IMAGES[:rows]), expected[:rows], atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(7, 10), (8, 4), (2, 3)])
def test_pooling_to_a_grid_is_the_same_in_a_graph(height: int, width: int) -> None:
    images = torch.randn(2, 3, height, width)
    expected = torch.nn.functional.adaptive_max_pool2d(images, 4)
    assert torch.equal(window_maxima(images, 4), expected)


def test_what_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torch_has_no_such(*_: object) -> torch.Tensor:
        raise NotImplementedError("no such operator\nmore of it")

    monkeypatch.setattr(Deployed, "forward", torch_has_no_such)
    with pytest.raises(JobFailed, match=r"model\.pt2 cannot be written: \w+: ") as refusal:
        graphs.write_program(model_of("one"), tmp_path)
    one_line(refusal)


def test_numbers_keep_their_digits(tmp_path: Path) -> None:
    """In float32 numbers about a million have a sixteenth between them."""
    model = model_of("one", scale=TargetScale(mean=1e6 + 1 / 3, std=1.0))
    graphs.write_onnx(model, tmp_path)
    found = load(tmp_path / ONNX)(IMAGES)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, model.predict(IMAGES), rtol=0.0, atol=1e-5)
