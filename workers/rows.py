"""The rows that a network is trained and validated on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.selected import Images
from workers.targets import TargetScale


@dataclass(frozen=True, slots=True)
class Rows:
    """What a training sees: uint8 images (n, height, width, channels) and labels (n,).

    Labels are int64 classes, or float64 numbers to be predicted; then `classes` is 1.

    Attributes:
        soft_labels: (n, classes) float32, what a training row should be predicted as; None: its
            label.
        validation_groups: (n,) of validation rows that are right or wrong together; None: all
            stand for themselves.
    """

    train_images: Images
    train_labels: NDArray[Any]
    validation_images: Images
    validation_labels: NDArray[Any]
    classes: int
    soft_labels: NDArray[np.float32] | None = None
    validation_groups: NDArray[np.int64] | None = None

    def learnt_labels(self, scale: TargetScale | None) -> NDArray[Any]:
        """Return what the training rows should be predicted as: (rows,) or (rows, classes).

        Args:
            scale: of numbers, which are learnt standardised.
        """
        if self.soft_labels is not None:
            return self.soft_labels
        return self.train_labels if scale is None else scale.standardised(self.train_labels)

    def class_weights(self) -> NDArray[np.float64]:
        """Return weights (classes,) that let all classes count the same; 1 for the mean row.

        Of soft labels each class has what they give it together; where that is nothing, no weight.
        """
        if self.soft_labels is None:
            counts = np.bincount(self.train_labels, minlength=self.classes).astype(np.float64)
        else:
            counts = self.soft_labels.sum(0, dtype=np.float64)
        occurs = counts > 0.0
        weights: NDArray[np.float64] = np.zeros_like(counts)
        weights[occurs] = counts.sum() / (occurs.sum() * counts[occurs])
        return weights
