"""A model folder in Python: predict with it, train its networks further, keep the import light."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from athanor import load
from spaces.errors import DataError, InputError, ModelFolderError
from tests.refusals import one_line
from tests.small_job import CACHE, worked
from workers.data import ImageData, load_data


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data("digits", cache=CACHE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("loading")
    worked(root, folds=2, search_epochs=2)
    return next(root.glob("**/models/*"))


def test_a_folder_predicts_names(folder: Path, data: ImageData) -> None:
    model = load(folder)
    probabilities = model.predict_proba(data.test_images)
    assert probabilities.shape == (len(data.test_images), 10)
    names = model.predict(data.test_images)
    assert names[0] == data.class_names[probabilities[0].argmax()]
    right = (names == np.array(data.class_names)[data.test_labels]).mean()
    assert right == pytest.approx(model.manifest.scores["test_accuracy"])
    floats = data.test_images[:9, :, :, 0] / 255.0  # as many libraries have them
    np.testing.assert_array_equal(model.predict_proba(floats), probabilities[:9])


def test_what_does_not_fit_is_refused(folder: Path, data: ImageData) -> None:
    model = load(str(folder))
    with pytest.raises(ModelFolderError, match=r"must be uint8 of \(rows, 8, 8, 1\)") as refusal:
        model.predict(data.test_images[:, :7])
    one_line(refusal)
    with pytest.raises(DataError, match="must be finite"):
        model.predict(np.full((1, 8, 8), np.nan))
    with pytest.raises(InputError, match="one of 0 to 1, but got 2"):
        model.network(2)


def test_a_network_says_the_same_and_can_be_trained_further(folder: Path, data: ImageData) -> None:
    model = load(folder)
    images, labels = torch.from_numpy(data.train_images[:64]), data.train_labels[:64]
    before = model.model.predict_one(1, data.train_images[:64])
    network = model.network(1)
    with torch.inference_mode():
        np.testing.assert_allclose(network(images).softmax(1).numpy(), before, atol=1e-6)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01)
    losses = []
    network.train()
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(images), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    np.testing.assert_array_equal(model.model.predict_one(1, data.train_images[:64]), before)


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = (
        "import sys, athanor; heavy = {'torch', 'sklearn', 'numpy', 'sqlalchemy'}; "
        "sys.exit(','.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        __import__("athanor").laod  # noqa: B018
