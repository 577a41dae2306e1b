"""What is told of each epoch of a training."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch gave. Accuracies are shares; the training's is over augmented images.

    The validation's score is that of the training's metric.

    An epoch is about as many images as there are rows: where the recipe leaves easy ones out, it is
    some passes over the others, the last of them to its end. In the training's figures images weigh
    as in the loss.

    The validation's figures are None after an epoch that was not validated; accuracies are where
    numbers are predicted, and losses are squared errors there, in units of their variance.
    """

    epoch: int
    images: int
    train_loss: float
    train_accuracy: float | None
    train_seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_score: float | None = None
    validation_seconds: float | None = None
