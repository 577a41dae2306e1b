"""`CnnSpace`: plain and residual convolutional networks and the recipes that train them."""

from typing import Annotated, Any, Literal, Self

import pydantic

from spaces.architecture import (
    MAX_DEPTH,
    MAX_STAGES,
    MAX_WIDTH,
    Activation,
    Architecture,
    BlockKind,
    Downsampling,
    Head,
    Kernel,
    Pooling,
    Stage,
    Stem,
    StemKind,
    Views,
    Width,
)
from spaces.recipe import Augmentation, Candidate
from spaces.recipe_space import RecipeSpace, preferred
from spaces.space import Choices, Suggester, check_span
from spaces.values import Value

MAX_POOLING_SCALE = 0.25  # of the logits: a maximum over many places is large
VIEWS: dict[Augmentation, Views] = {  # a prediction averages what the training was shown
    "flip": "flip",
    "flip_shift": "flip_shift",
    "flip_shift_erase": "flip_shift",
    "flip_affine": "flip",
    "flip_affine_jitter": "flip",
}
MIN_SIDE = 2  # pixels; below this a stage keeps the resolution, and so the width


def _count_span(limit: int) -> pydantic.AfterValidator:
    def check(span: tuple[int, int]) -> tuple[int, int]:
        check_span(span, minimum=1)
        if span[1] > limit:
            raise ValueError(
                f"at most {limit} is possible, but got (low={span[0]}, high={span[1]})"
            )
        return span

    return pydantic.AfterValidator(check)


class CnnSpace(Value):
    """Depth, width, kernel, block, activation, downsampling, head, and the recipe.

    Attributes:
        stages, depth: ranges (low, high) of the number of stages and of blocks in each.
        width: choices for the stem's and first stage's channels.
        width_rule: "double" doubles the channels wherever height and width halve;
            "free" chooses a factor for each stage among `width_factors`.
        stems: choices for the first convolution: a trained one of the first stage's width, or
            a whitening one of at most `whitening_width` channels.
        hidden: choices for a hidden fully connected layer's width; 0 stands for none.
    """

    kind: Literal["cnn"] = "cnn"
    stages: Annotated[tuple[int, int], _count_span(MAX_STAGES)] = (2, 4)
    depth: Annotated[tuple[int, int], _count_span(MAX_DEPTH)] = (1, 3)
    width: Choices[Width] = (8, 12, 16, 24, 32, 48, 64)
    width_rule: Literal["double", "free"] = "double"
    width_factors: Choices[Annotated[float, pydantic.Field(gt=0.0, le=16.0)]] = (1.0, 1.5, 2.0, 3.0)
    kernels: Choices[Kernel] = (3, 5)
    blocks: Choices[BlockKind] = ("plain", "residual")
    activations: Choices[Activation] = ("relu", "silu")
    downsampling: Choices[Downsampling] = ("max", "stride", "mean")
    stems: Choices[StemKind] = ("whitening", "convolution")
    whitening_width: Annotated[Width, pydantic.Field(multiple_of=2)] = 32
    stem_strides: Choices[Literal[1, 2]] = (1, 2)
    poolings: Choices[Pooling] = ("mean", "max")
    hidden: Choices[Annotated[int, pydantic.Field(ge=0, le=MAX_WIDTH)]] = (0, 64)
    recipe: RecipeSpace = RecipeSpace()

    @pydantic.model_validator(mode="after")
    def _check_widths(self) -> Self:
        """Make sure that no stage of any network is wider or narrower than is possible."""
        factors = (2.0,) if self.width_rule == "double" else self.width_factors
        halvings = self.stages[1] - 1
        widest = max(self.width) * max(max(factors), 1.0) ** halvings
        narrowest = min(self.width) * min(min(factors), 1.0) ** halvings
        if round(narrowest) < 1 or widest > MAX_WIDTH:
            raise ValueError(
                f"widths must stay in 1..{MAX_WIDTH} through {self.stages[1]} stages, "
                f"but reach {narrowest:g}..{widest:g}"
            )
        return self

    def suggest(self, trial: Suggester, *, side: int, epochs: int) -> Candidate:
        """Sample a candidate for images whose shorter side is `side` pixels."""
        recipe = self.recipe.suggest(trial, epochs=epochs)
        views = VIEWS.get(recipe.augmentation, "one")
        return Candidate(
            architecture=self._architecture(trial, side=side, views=views), recipe=recipe
        )

    def prior(self, *, width: int) -> dict[str, Any]:
        """Return the parameters of a small strong network of the given base width."""
        low, high = self.stages
        parameters: dict[str, Any] = {
            "stages": min(max(3, low), high),
            "block": preferred("plain", self.blocks),
            "width": preferred(width, self.width),
            "activation": preferred("relu", self.activations),
            "downsampling": preferred("max", self.downsampling),
            "stem": preferred("whitening", self.stems),
            "stem_stride": preferred(1, self.stem_strides),
            "pooling": preferred("mean", self.poolings),
            "hidden": preferred(0, self.hidden),
        }
        for index in range(1, high + 1):
            parameters[f"depth_{index}"] = min(max(2, self.depth[0]), self.depth[1])
            parameters[f"kernel_{index}"] = preferred(3, self.kernels)
            if self.width_rule == "free":
                parameters[f"width_factor_{index}"] = preferred(2.0, self.width_factors)
        return parameters | self.recipe.prior()

    def _architecture(self, trial: Suggester, *, side: int, views: Views) -> Architecture:
        count = trial.suggest_int("stages", *self.stages)
        block = trial.suggest_categorical("block", self.blocks)
        width = trial.suggest_categorical("width", self.width)
        kind = trial.suggest_categorical("stem", self.stems)
        stride = trial.suggest_categorical("stem_stride", self.stem_strides)
        activation = trial.suggest_categorical("activation", self.activations)
        downsampling = trial.suggest_categorical("downsampling", self.downsampling)
        head = self._head(trial)
        stages: list[Stage] = []
        side, channels = -(-side // stride), float(width)
        for index in range(1, self.stages[1] + 1):
            depth = trial.suggest_int(f"depth_{index}", *self.depth)
            kernel = trial.suggest_categorical(f"kernel_{index}", self.kernels)
            factor = self._width_factor(trial, index)
            # a stem of stride 2 has halved the image already, so the first stage need not
            halves = side > MIN_SIDE and not (index == 1 and stride == 2)
            if halves:
                side = -(-side // 2)
            if index > 1 and (halves or self.width_rule == "free"):
                channels *= factor
            stage = Stage(
                block=block,
                depth=depth,
                width=round(channels),
                kernel=kernel,
                downsampling=downsampling if halves else "none",
            )
            if index <= count:
                stages.append(stage)
        return Architecture(
            stem=Stem(
                kind=kind,
                width=self.whitening_width if kind == "whitening" else width,
                stride=stride,
            ),
            stages=tuple(stages),
            head=head,
            activation=activation,
            views=views,
        )

    def _width_factor(self, trial: Suggester, index: int) -> float:
        if self.width_rule == "double":
            return 2.0
        return float(trial.suggest_categorical(f"width_factor_{index}", self.width_factors))

    def _head(self, trial: Suggester) -> Head:
        pooling = trial.suggest_categorical("pooling", self.poolings)
        hidden = trial.suggest_categorical("hidden", self.hidden)
        scale = MAX_POOLING_SCALE if pooling == "max" else 1.0
        return Head(pooling=pooling, hidden=(hidden,) if hidden else (), scale=scale)
