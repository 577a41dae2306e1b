"""What a checkpoint must hold to go on exactly, and how it is read from and put back into torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

OPTIMIZER = "optimizer."


@dataclass(slots=True)
class TrainingState:
    """All that the rest of a training depends on: tensors, and numbers as JSON."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the optimizer's tensors and its plain numbers, each by a flat name."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, entry in optimizer.state_dict()["state"].items():
        for key, value in entry.items():
            name = f"{OPTIMIZER}{index}.{key}"
            if isinstance(value, Tensor):
                tensors[name] = value
            else:
                numbers[name] = value
    return tensors, numbers


def load_optimizer_state(optimizer: torch.optim.Optimizer, values: Mapping[str, Any]) -> None:
    """Put back what `optimizer_state` gave; other names in `values` are left out."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    entries: dict[int, dict[str, Any]] = {index: {} for index in range(len(parameters))}
    for name, value in values.items():
        if name.startswith(OPTIMIZER):
            _, number, key = name.split(".", 2)
            entries[int(number)][key] = value
    on_gpu = any(parameter.is_cuda for parameter in parameters)
    for index, entry in entries.items():
        parameter = parameters[index]
        held = optimizer.state.pop(parameter, {})
        for key, value in entry.items():
            if not isinstance(value, Tensor):
                optimizer.state[parameter][key] = value
                continue
            place = held.get(key)  # in it, as a CUDA graph looks for it there
            if place is None and value.shape == parameter.shape:
                place = torch.empty_like(parameter)  # any other layout makes every step slower
            elif place is None:
                place = torch.empty_like(value, device=parameter.device if on_gpu else "cpu")
            optimizer.state[parameter][key] = place.copy_(value)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's random state, and that of the GPU if it computes."""
    states = {"random.torch": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def load_random_state(device: torch.device, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(tensors["random.torch"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies in the processor's memory that later steps leave alone."""
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
