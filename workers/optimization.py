"""Optimizers and learning-rate schedules of a `Recipe`."""

import math

import torch
from torch import nn

from spaces.recipe import Recipe, Schedule

MOMENTUM = 0.9
WARMUP = 0.05  # share of all steps in which the rate rises from zero
PEAK = 0.2  # where the triangular schedule peaks, as a share of all steps
STEP_DECAY = 0.1
STEP_AT = (0.5, 0.75)  # shares of all steps after which the step schedule drops


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; biases and norms are exempt from weight decay."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=MOMENTUM, nesterov=True)


def learning_rate_factor(schedule: Schedule, progress: float) -> float:
    """Return the rate as a share of its peak when `progress` (0..1) of all steps are done.

    Triangular rises to its peak at 20 % and falls linearly to zero; the others rise over
    the first 5 %, then stay, drop by 10 at 50 % and 75 %, or follow half a cosine
    (arXiv 1608.03983) to zero.
    """
    if schedule == "triangular":
        return progress / PEAK if progress < PEAK else (1.0 - progress) / (1.0 - PEAK)
    if progress < WARMUP:
        return progress / WARMUP
    if schedule == "step":
        return STEP_DECAY ** sum(progress >= at for at in STEP_AT)
    if schedule == "cosine":
        after = (progress - WARMUP) / (1.0 - WARMUP)
        return 0.5 * (1.0 + math.cos(math.pi * after))
    return 1.0
