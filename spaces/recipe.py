"""`Recipe`: how a network is trained. `Candidate`: a network and its recipe, searched jointly."""

import math
from collections.abc import Collection
from typing import Annotated, Any, Literal

import pydantic

from spaces.architecture import Architecture
from spaces.values import Value

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["constant", "step", "cosine", "triangular"]
Averaging = Literal["none", "ema", "lookahead"]
ClassWeights = Literal["none", "balanced"]
Sampling = Literal["plain", "balanced"]
RegressionLoss = Literal["squared", "l1", "huber"]
Augmentation = Literal[
    "none",
    "flip",
    "shift",
    "flip_shift",
    "flip_shift_erase",
    "affine",
    "flip_affine",
    "flip_affine_jitter",
]

MAX_RATE = 10.0
SHIFT_FROM = 14  # epochs from which shift lowers the log-loss of flip alone (docs/recipe.md)
SHIFTED: dict[Augmentation, Augmentation] = {"none": "shift", "flip": "flip_shift"}
Fraction = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]


class Recipe(Value):
    """Everything that decides a training besides the network, the rows and the seed.

    Attributes:
        learning_rate: the schedule's peak, for a batch of any size (it is not rescaled).
        layer_rate_factor: on the learning rate, for each stage by which a layer is farther from
            the head: above 1 layers near the input learn faster than those near the output.
        norm_bias_rate: factor on the learning rate of the norms' biases (arXiv 2404.00498).
        weight_decay: decoupled from the gradient (arXiv 1711.05101): a step multiplies weights
            by 1 - rate * weight_decay; biases and norms are exempt.
        dropout: probability before each layer of the head (arXiv 1207.0580).
        stochastic_depth: probability with which the last residual block is passed by in training;
            it falls to the first one's in equal steps (arXiv 1603.09382).
        augmentation: what happens to each image at random: mirrored in every second epoch ("flip"),
            moved by whole pixels ("shift"), a square set to the mean ("erase"), rotated, scaled and
            moved ("affine"), contrast and brightness changed ("jitter").
        augment_until: share of all steps after which images are mirrored at most and not mixed, so
            that the network ends on images as it will meet them (arXiv 1909.09148).
        label_smoothing: share of the target spread over all classes (arXiv 1512.00567).
        mixup: alpha of the Beta distribution (arXiv 1710.09412); 0 turns it off.
        skip: share of the easy rows, those whose last loss was below the mean, that each epoch but
            the last ones leaves out; the easy ones that stay weigh more in their place
            (arXiv 2303.04947). Mixed rows have no loss of their own: with mixup none is left out,
            nor with balanced sampling, which repeats rows.
        averaging: of the weights over the last steps: "ema" keeps a moving average that
            predicts in their place, "lookahead" (arXiv 1907.08610) also trains on from it.
        epochs: how often as many images are seen as there are rows; where rows are left out, that
            takes more and shorter passes over them.
        class_weights: on the loss of each image: all the same, or in inverse proportion to how many
            training rows its class has.
        sampling: how often an epoch sees each row: once, or so that all classes come equally often.
        regression_loss: where a number is predicted: its squared error, the absolute one, or
            Huber's (Annals of Mathematical Statistics 35, 1964), which is squared up to a standard
            deviation of the numbers.
        focal: exponent of 1 - p(target) on the loss, so that what is known counts less (arXiv
            1708.02002); 0 turns it off.
        max_norm: the largest norm of a unit's or a filter's incoming weights, to which they are
            shortened after each step (arXiv 1207.0580), or None for no limit.
        clip_norm: the gradient's largest global norm, or None for no limit.
        weights: that the network begins with, as `spaces.pretrained` calls them.
        frozen: parts, the stem and then the stages, that keep these weights.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: Annotated[float, pydantic.Field(gt=0.0, le=MAX_RATE)] = 0.1
    layer_rate_factor: Annotated[float, pydantic.Field(ge=0.1, le=10.0)] = 1.0
    norm_bias_rate: Annotated[float, pydantic.Field(gt=0.0, le=100.0)] = 1.0
    schedule: Schedule = "triangular"
    weight_decay: Annotated[float, pydantic.Field(ge=0.0, le=1.0)] = 5e-4
    dropout: Fraction = 0.0
    stochastic_depth: Fraction = 0.0
    label_smoothing: Fraction = 0.1
    mixup: Annotated[float, pydantic.Field(ge=0.0, le=10.0)] = 0.0
    augmentation: Augmentation = "flip_shift"
    augment_until: Annotated[float, pydantic.Field(ge=0.0, le=1.0)] = 1.0
    skip: Fraction = 0.0
    averaging: Averaging = "none"
    batch_size: Annotated[int, pydantic.Field(ge=2, le=65536)] = 256
    epochs: Annotated[int, pydantic.Field(ge=1, le=10_000)] = 8
    class_weights: ClassWeights = "none"
    sampling: Sampling = "plain"
    regression_loss: RegressionLoss = "squared"
    focal: Annotated[float, pydantic.Field(ge=0.0, le=10.0)] = 0.0
    max_norm: Annotated[float, pydantic.Field(gt=0.0)] | None = None
    clip_norm: Annotated[float, pydantic.Field(gt=0.0)] | None = None
    weights: str | None = None
    frozen: Annotated[int, pydantic.Field(ge=0)] = 0

    def lengthened(
        self,
        *,
        epochs: int,
        expected: float,
        times: float,
        largest_batch: int,
        augmentations: Collection[Augmentation],
    ) -> "Recipe":
        """Return the recipe for a training of up to `epochs`, on `times` as many images.

        The batch that learns most from each image grows with the training (arXiv 1812.06162), so
        it grows with the root of `times`, by a power of two, and the learning rate with the root
        of the batch. What a short training need not fear, a long one does: that it learns the
        images by heart. So a long one also shifts them.

        Args:
            expected: epochs that there probably is time for.
            largest_batch: beyond which the batch does not grow.
            augmentations: that may be used.
        """
        doublings = max(0, round(0.5 * math.log2(max(times, 1.0))))
        while doublings and self.batch_size * 2**doublings > largest_batch:
            doublings -= 1
        changes: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": self.batch_size * 2**doublings,
            "learning_rate": min(self.learning_rate * 2.0 ** (doublings / 2), MAX_RATE),
        }
        if expected >= SHIFT_FROM:
            shifted = SHIFTED.get(self.augmentation, self.augmentation)
            changes["augmentation"] = shifted if shifted in augmentations else self.augmentation
        return self.model_copy(update=changes)


class Candidate(Value):
    """A network and the recipe that trains it."""

    architecture: Architecture
    recipe: Recipe
