"""A model folder in Python: predict with it, train its networks further, keep the import light."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from athanor import load
from spaces.errors import DataError, InputError, ModelFolderError
from tests.planted_model import IMAGES, model_of, write_model
from tests.refusals import one_line
from workers.model_folder import read_manifest
from workers.targets import TargetScale


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("loading")
    write_model(model_of("flip", temperature=0.6), made)
    return made


def test_a_folder_predicts_names(folder: Path) -> None:
    model = load(folder)
    probabilities = model.predict_proba(IMAGES)
    expected = model_of("flip", temperature=0.6).predict(IMAGES)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    names = model.predict(IMAGES)
    assert names.tolist() == [model.classes[best] for best in expected.argmax(1)]
    floats = IMAGES / 255.0  # as many libraries have them
    np.testing.assert_array_equal(model.predict_proba(floats), probabilities)


def test_a_folder_predicts_numbers(tmp_path: Path) -> None:
    made = model_of("one", scale=TargetScale(mean=1e5, std=2.0))
    write_model(made, tmp_path)
    model = load(tmp_path)
    np.testing.assert_allclose(model.predict(IMAGES), made.predict(IMAGES)[:, 0], rtol=1e-9)
    with pytest.raises(InputError, match="must tell classes apart, but predicts numbers"):
        model.predict_proba(IMAGES)


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    model = load(str(folder))
    with pytest.raises(ModelFolderError, match=r"must be uint8 of \(rows, 9, 12, 3\)") as refusal:
        model.predict(IMAGES[:, :7])
    one_line(refusal)
    with pytest.raises(DataError, match="must be finite"):
        model.predict(np.full((1, 9, 12, 3), np.nan))
    with pytest.raises(InputError, match="one of 0 to 2, but got 3"):
        model.network(3)


def test_a_network_says_the_same_and_can_be_trained_further(folder: Path) -> None:
    model = load(folder)
    images, labels = torch.from_numpy(IMAGES), torch.arange(len(IMAGES)) % 4
    before = model.model.predict_one(1, IMAGES)
    network = model.network(1)
    with torch.inference_mode():
        np.testing.assert_allclose(network(images).softmax(1).numpy(), before, atol=1e-6)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.05)
    losses = []
    network.train()
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(model.model.predict_one(1, IMAGES), before)


def test_folders_of_another_format_and_with_hostile_names_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["format"] == 2 and len(manifest["files"]) == 3
    (tmp_path / "model.json").write_text(json.dumps({**manifest, "format": 3}))
    with pytest.raises(ModelFolderError, match="must have format 2, but has 3"):
        read_manifest(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**manifest, "files": {"../weights": "0"}}))
    with pytest.raises(ModelFolderError, match="files"):
        read_manifest(tmp_path)


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = (
        "import sys, athanor; heavy = {'torch', 'sklearn', 'numpy', 'sqlalchemy'}; "
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        __import__("athanor").laod  # noqa: B018
