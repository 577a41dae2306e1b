"""`Recipe`: how a network is trained. `Candidate`: a network and its recipe, searched jointly."""

from typing import Annotated, Literal

import pydantic

from spaces.architecture import Architecture
from spaces.values import Value

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["constant", "step", "cosine", "triangular"]
Augmentation = Literal["none", "flip", "shift", "flip_shift", "flip_shift_erase"]

Fraction = Annotated[float, pydantic.Field(ge=0.0, lt=1.0)]


class Recipe(Value):
    """Everything that decides a training besides the network, the rows and the seed.

    Attributes:
        learning_rate: the schedule's peak, for a batch of any size (it is not rescaled).
        weight_decay: decoupled from the learning rate's direction for AdamW (arXiv
            1711.05101), coupled for SGD; biases and norms are exempt.
        dropout: probability before each layer of the head (arXiv 1207.0580).
        label_smoothing: share of the target spread over all classes (arXiv 1512.00567).
        mixup: alpha of the Beta distribution (arXiv 1710.09412); 0 turns it off.
        clip_norm: the gradient's largest global norm, or None for no limit.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: Annotated[float, pydantic.Field(gt=0.0, le=10.0)] = 0.1
    schedule: Schedule = "triangular"
    weight_decay: Annotated[float, pydantic.Field(ge=0.0, le=1.0)] = 5e-4
    dropout: Fraction = 0.0
    label_smoothing: Fraction = 0.1
    mixup: Annotated[float, pydantic.Field(ge=0.0, le=10.0)] = 0.0
    augmentation: Augmentation = "flip_shift"
    batch_size: Annotated[int, pydantic.Field(ge=2, le=65536)] = 256
    epochs: Annotated[int, pydantic.Field(ge=1, le=10_000)] = 8
    clip_norm: Annotated[float, pydantic.Field(gt=0.0)] | None = None


class Candidate(Value):
    """A network and the recipe that trains it."""

    architecture: Architecture
    recipe: Recipe
