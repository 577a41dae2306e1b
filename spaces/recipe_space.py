"""`RecipeSpace`: the recipes that a search may try."""

from typing import Annotated, Any, Self

import pydantic

from spaces.errors import SpaceError
from spaces.recipe import (
    Augmentation,
    Averaging,
    ClassWeights,
    Fraction,
    Optimizer,
    Recipe,
    RegressionLoss,
    Sampling,
    Schedule,
)
from spaces.space import Choices, Suggester, check_span, pick
from spaces.values import Value

PositiveSpan = Annotated[
    tuple[float, float], pydantic.AfterValidator(lambda span: check_span(span, minimum=1e-9))
]
ShareSpan = Annotated[
    tuple[float, float], pydantic.AfterValidator(lambda span: check_span(span, minimum=0.0))
]


class RecipeSpace(Value):
    """Choices and ranges (low, high) of each part of a recipe; rates are sampled in logarithm.

    Each optimizer has a learning-rate parameter of its own, since their scales differ by two orders
    of magnitude; those of all choices are sampled always and one is used.

    Attributes:
        optimizers: SGD with Nesterov's momentum or AdamW, both with decoupled weight decay.
        sgd_learning_rate: the peak of the schedule, of SGD.
        adamw_learning_rate: the peak of the schedule, of AdamW.
        schedules: how the rate goes up and down in a training.
        layer_rate_factors: by which the rate grows with each stage towards the input.
        norm_bias_rates: times the rate, for the biases of norms.
        averagings: what is predicted with: the last weights, or a mean along the training.
        skips: share left out, in each epoch, of the rows that the network knows already.
        weight_decay: how fast weights shrink beside the gradient's steps.
        dropout: probability before each layer of the head (arXiv 1207.0580).
        stochastic_depths: probability that the last residual block is passed by (arXiv 1603.09382).
        label_smoothing: share of each label that is spread over all classes.
        mixup: of the Beta distribution by which two images are blended (arXiv 1710.09412); 0: none.
        augmentations: how training images are altered.
        augment_until: share of the training after which they are only mirrored.
        class_weights: whether the loss of rare classes counts for more.
        samplings: whether an epoch sees rare classes more often.
        regression_losses: by which numbers are learnt.
        focals: exponent by which what is known counts less in the loss (arXiv 1708.02002); 0: none.
        max_norms: of a unit's incoming weights, shortened to it (arXiv 1207.0580); 0: no limit.
        batch_sizes: images of a step.
    """

    optimizers: Choices[Optimizer] = ("sgd", "adamw")
    sgd_learning_rate: PositiveSpan = (0.03, 0.8)
    adamw_learning_rate: PositiveSpan = (0.0005, 0.02)
    schedules: Choices[Schedule] = ("triangular", "cosine", "step", "constant")
    layer_rate_factors: Choices[float] = (1.0,)
    norm_bias_rates: Choices[float] = (1.0, 8.0)
    averagings: Choices[Averaging] = ("none", "ema")
    skips: Choices[Fraction] = (0.75,)
    weight_decay: PositiveSpan = (5e-4, 5e-2)
    dropout: ShareSpan = (0.0, 0.5)
    stochastic_depths: Choices[Fraction] = (0.0,)
    label_smoothing: ShareSpan = (0.0, 0.2)
    mixup: Choices[float] = (0.0, 0.2)
    augmentations: Choices[Augmentation] = (
        "flip",
        "none",
        "shift",
        "flip_shift",
        "flip_shift_erase",
    )
    augment_until: Choices[Annotated[float, pydantic.Field(ge=0.0, le=1.0)]] = (0.75,)
    class_weights: Choices[ClassWeights] = ("none",)
    samplings: Choices[Sampling] = ("plain",)
    regression_losses: Choices[RegressionLoss] = ("squared",)
    focals: Choices[Annotated[float, pydantic.Field(ge=0.0, le=10.0)]] = (0.0,)
    max_norms: Choices[Annotated[float, pydantic.Field(ge=0.0)]] = (0.0,)
    batch_sizes: Choices[int] = (64, 128, 256, 512)

    @pydantic.model_validator(mode="after")
    def _check_ends(self) -> Self:
        """Make sure that no recipe of the space breaks a rule of `Recipe`."""
        ends: dict[str, tuple[float, ...]] = {
            "weight_decay": self.weight_decay,
            "dropout": self.dropout,
            "label_smoothing": self.label_smoothing,
            "mixup": self.mixup,
            "batch_size": self.batch_sizes,
            "layer_rate_factor": self.layer_rate_factors,
            "norm_bias_rate": self.norm_bias_rates,
        }
        rates = {"sgd": self.sgd_learning_rate, "adamw": self.adamw_learning_rate}
        ends["learning_rate"] = tuple(rate for name in self.optimizers for rate in rates[name])
        for field, values in ends.items():
            for value in values:
                try:
                    Recipe.from_json({field: value})
                except SpaceError as failure:
                    raise ValueError(str(failure)) from None
        return self

    def suggest(self, trial: Suggester, *, epochs: int) -> Recipe:
        """Sample a recipe of the given length."""
        optimizer = pick(trial, "optimizer", self.optimizers)
        spans = {"sgd": self.sgd_learning_rate, "adamw": self.adamw_learning_rate}
        rates = {
            name: trial.suggest_float(f"{name}_learning_rate", *spans[name], log=True)
            for name in sorted(self.optimizers, reverse=True)
        }
        return Recipe(
            optimizer=optimizer,
            learning_rate=rates[optimizer],
            layer_rate_factor=pick(trial, "layer_rate_factor", self.layer_rate_factors),
            norm_bias_rate=pick(trial, "norm_bias_rate", self.norm_bias_rates),
            averaging=pick(trial, "averaging", self.averagings),
            skip=pick(trial, "skip", self.skips),
            schedule=pick(trial, "schedule", self.schedules),
            weight_decay=trial.suggest_float("weight_decay", *self.weight_decay, log=True),
            dropout=trial.suggest_float("dropout", *self.dropout),
            stochastic_depth=pick(trial, "stochastic_depth", self.stochastic_depths),
            label_smoothing=trial.suggest_float("label_smoothing", *self.label_smoothing),
            mixup=pick(trial, "mixup", self.mixup),
            augmentation=pick(trial, "augmentation", self.augmentations),
            augment_until=pick(trial, "augment_until", self.augment_until),
            class_weights=pick(trial, "class_weights", self.class_weights),
            sampling=pick(trial, "sampling", self.samplings),
            regression_loss=pick(trial, "regression_loss", self.regression_losses),
            focal=pick(trial, "focal", self.focals),
            max_norm=pick(trial, "max_norm", self.max_norms) or None,
            batch_size=pick(trial, "batch_size", self.batch_sizes),
            epochs=epochs,
        )

    def prior(self) -> dict[str, Any]:
        """Return the parameters of a recipe that is good on most data, as far as allowed."""
        return {
            "optimizer": preferred("sgd", self.optimizers),
            "sgd_learning_rate": clipped(0.2, self.sgd_learning_rate),
            "adamw_learning_rate": clipped(0.004, self.adamw_learning_rate),
            "schedule": preferred("triangular", self.schedules),
            "layer_rate_factor": preferred(1.0, self.layer_rate_factors),
            "norm_bias_rate": preferred(1.0, self.norm_bias_rates),
            "averaging": preferred("none", self.averagings),
            "skip": preferred(0.75, self.skips),
            "weight_decay": clipped(5e-3, self.weight_decay),
            "dropout": clipped(0.0, self.dropout),
            "stochastic_depth": preferred(0.0, self.stochastic_depths),
            "label_smoothing": clipped(0.1, self.label_smoothing),
            "mixup": preferred(0.0, self.mixup),
            "augmentation": preferred("flip", self.augmentations),
            "augment_until": preferred(0.75, self.augment_until),
            "class_weights": preferred("balanced", self.class_weights),
            "sampling": preferred("plain", self.samplings),
            "regression_loss": preferred("huber", self.regression_losses),
            "focal": preferred(0.0, self.focals),
            "max_norm": preferred(0.0, self.max_norms),
            "batch_size": max(
                (size for size in self.batch_sizes if size <= 256), default=min(self.batch_sizes)
            ),
        }


def preferred(value: Any, choices: tuple[Any, ...]) -> Any:
    """Return `value` if it is a choice, else the first choice."""
    return value if value in choices else choices[0]


def clipped(value: float, span: tuple[float, float]) -> float:
    """Return the number of the span that is nearest to `value`."""
    return min(max(value, span[0]), span[1])
