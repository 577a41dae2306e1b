"""`load`: a model folder in Python, to predict with or to train further."""

import copy
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from workers.model_folder import Manifest, Model, load_model
from workers.npz import checked_images

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """The ensemble of a model folder, on the CPU in float32.

    Images are (rows, height, width) or (rows, height, width, 1 or 3), sized as the model expects:
    uint8, or other numbers that are whole in 0..255 or lie in 0..1.
    """

    model: Model

    @property
    def manifest(self) -> Manifest:
        """What `model.json` holds: architectures, scores, protocol."""
        return self.model.manifest

    @property
    def classes(self) -> NDArray[np.str_]:
        """The names of the classes (classes,), in the order of the probabilities."""
        return np.array(self.manifest.class_names, dtype=np.str_)

    def predict_proba(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (rows, classes).

        Raises:
            InputError: the model predicts numbers.
            DataError: these are no images.
            ModelFolderError: the images have another size or number of channels.
        """
        if not self.manifest.class_names:
            raise InputError(f"{self.manifest.job} must tell classes apart, but predicts numbers")
        return self.model.predict(checked_images(images, name="images"))

    def predict(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the names (rows,) of the most probable classes, or the numbers (rows,)."""
        if self.manifest.class_names:
            names: NDArray[np.str_] = self.classes[self.predict_proba(images).argmax(1)]
            return names
        numbers: NDArray[Any] = self.model.predict(checked_images(images, name="images"))[:, 0]
        return numbers

    def network(self, index: int = 0) -> "nn.Module":
        """Return a copy of one network, from pixels to logits, to be trained further.

        It maps (n, height, width, channels) in 0..255 to logits (n, classes); see
        `workers.deployment.PixelNetwork`. It is in evaluation mode.
        """
        from workers.deployment import PixelNetwork

        count = len(self.model.networks)
        if not 0 <= index < count:
            raise InputError(f"a network must be one of 0 to {count - 1}, but got {index}")
        network = copy.deepcopy(self.model.networks[index])
        return PixelNetwork(network, self.manifest.networks[index]).eval()


def load(folder: str | PathLike[str]) -> LoadedModel:
    """Load a model folder.

    Raises:
        ModelFolderError: a file is missing, was altered, or does not fit `model.json`.
    """
    return LoadedModel(load_model(Path(folder)))
