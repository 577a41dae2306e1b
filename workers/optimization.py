"""Optimizers and learning-rate schedules of a `Recipe`."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from spaces.network import Network
from spaces.recipe import Recipe, Schedule

MOMENTUM = 0.9
WARMUP = 0.05  # share of all steps in which the rate rises from zero
PEAK = 0.2  # where the triangular schedule peaks, as a share of all steps
STEP_DECAY = 0.1
STEP_AT = (0.5, 0.75)  # shares of all steps after which the step schedule drops
NORMS = (nn.BatchNorm2d, nn.GroupNorm)


class DecoupledSGD(torch.optim.SGD):
    """SGD with Nesterov momentum whose weight decay stays out of the momentum.

    The decay is decoupled from the gradient as in SGDW (arXiv 1711.05101), relative to the
    current rate.
    """

    def step(self, closure: Any = None) -> Any:
        """Shrink the weights by 1 - rate * decay, then follow the gradient."""
        for group in self.param_groups:
            if group["decoupled_decay"] > 0.0:
                with torch.no_grad():
                    keep = 1.0 - group["lr"] * group["decoupled_decay"]
                    torch._foreach_mul_(group["params"], keep)
        return super().step(closure)


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; biases and norms are exempt from weight decay.

    Each group's `rate_factor` multiplies the schedule's rate. On a GPU the rates are tensors there
    and a group's update is one kernel, as CUDA graphs want it.
    """
    norms = [module for module in network.modules() if isinstance(module, NORMS)]
    norm_biases = {id(norm.bias) for norm in norms}
    distances = distances_from_head(network) if recipe.layer_rate_factor != 1.0 else {}
    parameters: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            factor = recipe.layer_rate_factor ** distances.get(id(parameter), 0)
            factor *= recipe.norm_bias_rate if id(parameter) in norm_biases else 1.0
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            parameters.setdefault((factor, decay), []).append(parameter)
    key = "weight_decay" if recipe.optimizer == "adamw" else "decoupled_decay"
    groups: list[dict[str, Any]] = [
        {"params": group, "rate_factor": factor, key: decay}
        for (factor, decay), group in parameters.items()
    ]
    rate, on_gpu = recipe.learning_rate, next(network.parameters()).is_cuda
    for group in groups if on_gpu else []:
        group["lr"] = torch.tensor(rate, device=group["params"][0].device)
    fused = on_gpu or None  # elsewhere torch chooses
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=fused, capturable=on_gpu)
    return DecoupledSGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True, fused=fused)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step be taken at this rate times the factor of each group."""
    for group in optimizer.param_groups:
        factored = rate * group["rate_factor"]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(factored)
        else:
            group["lr"] = factored


def distances_from_head(network: nn.Module) -> dict[int, int]:
    """Return how many stages behind each parameter follow before the head's, by its id."""
    assert isinstance(network, Network)
    parts: list[nn.Module] = [network.stem, *network.stages, network.head]
    return {
        id(parameter): len(parts) - 1 - index
        for index, part in enumerate(parts)
        for parameter in part.parameters()
    }


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
