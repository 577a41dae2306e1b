"""`CnnSpace`: convolutional networks and the recipes that train them."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

import pydantic

from spaces.architecture import (
    MAX_DEPTH,
    MAX_STAGES,
    MAX_WIDTH,
    MIN_INCEPTION_WIDTH,
    Activation,
    Architecture,
    BlockKind,
    Downsampling,
    Expansion,
    Grid,
    Head,
    Kernel,
    Norm,
    Pooling,
    Squeeze,
    Stage,
    Stem,
    StemKind,
    Views,
    Width,
)
from spaces.recipe import Augmentation, Candidate
from spaces.recipe_space import RecipeSpace, preferred
from spaces.space import Choices, Suggester, check_span, pick
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
    """Depth, width, kernel, block, norm, activation, downsampling, head, and the recipe.

    What has but one choice is not a parameter of the trials.

    Attributes:
        stages: range (low, high) of the number of stages.
        depth: range (low, high) of the blocks in each of them.
        width: choices for the stem's and first stage's channels.
        width_rule: "double" doubles the channels wherever height and width halve;
            "free" chooses a factor for each stage among `width_factors`.
        width_factors: choices for the factor on a stage's channels with the rule "free".
        kernels: choices for the side of a convolution's filters, which is odd.
        blocks: choices for what a stage repeats (docs/spaces.md).
        block_rule: "same" gives all stages the same kind of block, "free" chooses for each.
        expansions: choices for bottleneck and inverted blocks.
        squeezes: choices for the factor by which squeeze-and-excitation narrows; 0 stands for none.
        norms: choices for what follows a convolution.
        activations: choices for the nonlinearity.
        downsampling: choices for what halves height and width: pooling, or a convolution's stride.
        stems: choices for the first convolution: a trained one of the first stage's width, a
            whitening one of at most `whitening_width` channels, or patches of the first stage's.
        whitening_width: channels of a whitening stem at most.
        stem_strides: choices for its stride.
        poolings: choices for what the head keeps of each channel's map.
        grids: choices for the rows and columns that the head pools to.
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
    block_rule: Literal["same", "free"] = "same"
    expansions: Choices[Expansion] = (4,)
    squeezes: Choices[Squeeze] = (0,)
    norms: Choices[Norm] = ("batch",)
    activations: Choices[Activation] = ("relu", "silu")
    downsampling: Choices[Downsampling] = ("max", "stride", "mean")
    stems: Choices[StemKind] = ("whitening", "convolution")
    whitening_width: Annotated[Width, pydantic.Field(multiple_of=2)] = 32
    stem_strides: Choices[Literal[1, 2, 4]] = (1, 2)
    poolings: Choices[Pooling] = ("mean", "max")
    grids: Choices[Grid] = (1,)
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
        if "inception" in self.blocks and round(narrowest) < MIN_INCEPTION_WIDTH:
            raise ValueError(
                f"with inception blocks widths must be at least {MIN_INCEPTION_WIDTH}, "
                f"but reach {narrowest:g}"
            )
        return self

    def check(self) -> None:
        """Do nothing: keys alone are a space anywhere."""

    def suggest(self, trial: Suggester, *, side: int, epochs: int) -> Candidate:
        """Sample a candidate for images whose shorter side is `side` pixels."""
        recipe = self.recipe.suggest(trial, epochs=epochs)
        views = VIEWS.get(recipe.augmentation, "one")
        return Candidate(
            architecture=self._architecture(trial, side=side, views=views), recipe=recipe
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the first stage, ascending."""
        return tuple(sorted(self.width))

    def sized(self, sizes: Collection[float]) -> Self:
        """Return the space with these widths of the first stage alone."""
        kept = tuple(width for width in self.width if width in sizes)
        return self.model_copy(update={"width": kept})

    def prior(self, *, size: float) -> dict[str, Any]:
        """Return the parameters of a small strong network of the given base width."""
        low, high = self.stages
        parameters: dict[str, Any] = {
            "stages": min(max(3, low), high),
            "width": preferred(size, self.width),
            "expansion": preferred(4, self.expansions),
            "squeeze": preferred(0, self.squeezes),
            "norm": preferred("batch", self.norms),
            "activation": preferred("relu", self.activations),
            "downsampling": preferred("max", self.downsampling),
            "stem": preferred("whitening", self.stems),
            "stem_stride": preferred(1, self.stem_strides),
            "pooling": preferred("mean", self.poolings),
            "grid": preferred(1, self.grids),
            "hidden": preferred(0, self.hidden),
        }
        for index in range(1, high + 1):
            parameters[f"depth_{index}"] = min(max(2, self.depth[0]), self.depth[1])
            parameters[f"kernel_{index}"] = preferred(3, self.kernels)
            parameters[self._block_name(index)] = preferred("plain", self.blocks)
            if self.width_rule == "free":
                parameters[f"width_factor_{index}"] = preferred(2.0, self.width_factors)
        return parameters | self.recipe.prior()

    def _architecture(self, trial: Suggester, *, side: int, views: Views) -> Architecture:
        width = pick(trial, "width", self.width)
        stem = self._stem(trial, width=width)
        return Architecture(
            stem=stem,
            stages=self._stages(trial, side=-(-side // stem.stride), stem=stem, width=width),
            head=self._head(trial),
            activation=pick(trial, "activation", self.activations),
            norm=pick(trial, "norm", self.norms),
            views=views,
        )

    def _stages(self, trial: Suggester, *, side: int, stem: Stem, width: int) -> tuple[Stage, ...]:
        """Return the stages for maps of `side` pixels.

        Parameters of all stages are sampled, however many the network has.
        """
        count = trial.suggest_int("stages", *self.stages)
        downsampling = pick(trial, "downsampling", self.downsampling)
        expansion = pick(trial, "expansion", self.expansions)
        squeeze = pick(trial, "squeeze", self.squeezes)
        stages: list[Stage] = []
        channels = float(width)
        for index in range(1, self.stages[1] + 1):
            factor = self._width_factor(trial, index)
            # a stem with a stride has reduced the image already, so the first stage need not
            halves = side > MIN_SIDE and not (index == 1 and stem.stride > 1)
            if halves:
                side = -(-side // 2)
            if index > 1 and (halves or self.width_rule == "free"):
                channels *= factor
            stage = Stage(
                block=pick(trial, self._block_name(index), self.blocks),
                depth=trial.suggest_int(f"depth_{index}", *self.depth),
                width=round(channels),
                kernel=pick(trial, f"kernel_{index}", self.kernels),
                downsampling=downsampling if halves else "none",
                expansion=expansion,
                squeeze=squeeze,
            )
            stages.append(stage)
        return tuple(stages[:count])

    def _stem(self, trial: Suggester, *, width: int) -> Stem:
        kind = pick(trial, "stem", self.stems)
        return Stem(
            kind=kind,
            width=self.whitening_width if kind == "whitening" else width,
            stride=pick(trial, "stem_stride", self.stem_strides),
        )

    def _block_name(self, index: int) -> str:
        return "block" if self.block_rule == "same" else f"block_{index}"

    def _width_factor(self, trial: Suggester, index: int) -> float:
        if self.width_rule == "double":
            return 2.0
        return float(pick(trial, f"width_factor_{index}", self.width_factors))

    def _head(self, trial: Suggester) -> Head:
        pooling = pick(trial, "pooling", self.poolings)
        grid = pick(trial, "grid", self.grids)
        hidden = pick(trial, "hidden", self.hidden)
        scale = MAX_POOLING_SCALE if pooling == "max" else 1.0
        return Head(pooling=pooling, grid=grid, hidden=(hidden,) if hidden else (), scale=scale)
