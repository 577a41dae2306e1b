"""Spaces of several kinds, candidates sampled from them at random, and parts of networks."""

from typing import Any

import optuna

from spaces.architecture import Architecture, Stage, Stem
from spaces.cnn import CnnSpace
from spaces.recipe import Candidate

DEFAULT = CnnSpace()
FREE = CnnSpace(width_rule="free", stages=(1, 5), depth=(1, 2), width=(4, 8), kernels=(1, 3, 7))
SMALL = CnnSpace(width=(4, 8), stages=(1, 4), depth=(1, 2), hidden=(0,))
SPACES = {"default": DEFAULT, "free": FREE, "small": SMALL}
SIMPLE = Architecture(
    stem=Stem(width=4), stages=(Stage(depth=1, width=8, kernel=3, downsampling="max"),)
)


def random_study(seed: int = 0) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed), direction="maximize")


def sample(space: CnnSpace, *, n: int, seed: int = 0, side: int = 28) -> list[Candidate]:
    study = random_study(seed)
    return [space.suggest(study.ask(), side=side, epochs=3) for _ in range(n)]


def residual(width: int, *, downsampling: Any = "none", depth: int = 2) -> Stage:
    return Stage(block="residual", depth=depth, width=width, downsampling=downsampling)
