"""A few images with what a model says of them, kept in its folder to verify it by later."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import ModelFolderError

SAMPLES = "samples.npz"
KEPT = 64  # images
KEPT_PIXELS = 2**21  # numbers of all of them together: of large images there are fewer
MOST_BYTES = 64 * 2**20  # that a folder's samples may take; nobody wrote more


@dataclass(frozen=True, eq=False)
class Samples:
    """Images with labels that a model can be judged by.

    Attributes:
        images: uint8 (rows, height, width, channels).
        labels: (rows,), classes or numbers.
        predictions: (rows, classes or 1), what the float32 networks say of them.
    """

    images: NDArray[np.uint8]
    labels: NDArray[Any]
    predictions: NDArray[Any]

    def few(self) -> "Samples":
        """Return the first of them, as many as a folder keeps."""
        count = max(1, min(KEPT, KEPT_PIXELS // max(1, self.images[0].size)))
        return Samples(self.images[:count], self.labels[:count], self.predictions[:count])

    def save(self, folder: Path) -> None:
        """Write them into a folder."""
        np.savez_compressed(
            folder / SAMPLES,
            images=self.images,
            labels=self.labels,
            predictions=self.predictions,
        )

    @classmethod
    def load(cls, folder: Path, *, image_shape: tuple[int, int, int], outputs: int) -> "Samples":
        """Read what `save` wrote.

        Args:
            outputs: classes, or 1 for numbers.

        Raises:
            ModelFolderError: they are broken, too large, or do not fit the model.
        """
        path = folder / SAMPLES
        try:
            with zipfile.ZipFile(path) as archive:
                total = sum(member.file_size for member in archive.infolist())
            if total > MOST_BYTES:
                raise ModelFolderError(
                    f"{path} must hold at most {MOST_BYTES:,} bytes, but holds {total:,}"
                )
            with np.load(path, allow_pickle=False) as stored:
                images, labels, predictions = (
                    stored[name] for name in ("images", "labels", "predictions")
                )
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as failure:
            reason = str(failure).replace("\n", " ")
            raise ModelFolderError(f"{path} must hold sample images: {reason}") from None
        if images.dtype != np.uint8 or images.shape[1:] != image_shape or not len(images):
            raise ModelFolderError(
                f"{path} must hold uint8 images of (rows, {', '.join(map(str, image_shape))}), "
                f"but has {images.dtype} of {images.shape}"
            )
        shapes = {"labels": (len(images),), "predictions": (len(images), outputs)}
        for name, array in (("labels", labels), ("predictions", predictions)):
            if array.dtype.kind not in "iuf" or array.shape != shapes[name]:
                raise ModelFolderError(
                    f"{path} must hold {name} of {shapes[name]}, but has {array.dtype} of "
                    f"{array.shape}"
                )
        return cls(images, labels, predictions)
