"""A network begins with the weights of torchvision's model, as far as its layers are the same."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from spaces.errors import SpaceError
from spaces.network import Network
from spaces.pretrained import weights_file

Group = dict[str, Tensor]  # tensors of one layer, by name
KINDS = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
COUNTER = "num_batches_tracked"


def load_pretrained(network: Network, reference: str) -> None:
    """Copy the weights of a torchvision model's state into a network of the same layers.

    Layers are paired in their order, which torch's files keep. The first convolution sees grey
    images with the sum of its filters over the colours, as if these were equal, and a smaller
    kernel with its filters' middle. Fully connected layers of other sizes, as for smaller images,
    and the last one, whose classes are others, keep their random weights.

    Raises:
        SpaceError: the file is missing, is no such state, or its layers are others.
    """
    path = weights_file(reference)
    theirs = list(_groups(_read(path)))
    ours = [module for module in network.modules() if isinstance(module, KINDS)]
    if len(theirs) != len(ours):
        raise SpaceError(
            f"pretrained weights must have {len(ours)} layers, but {path} has {len(theirs)}"
        )
    with torch.no_grad():
        for index, (module, tensors) in enumerate(zip(ours, theirs, strict=True)):
            if index == 0:
                tensors = _first(module, tensors)
            if module is ours[-1] or not _fits(module, tensors, path):
                continue
            module.load_state_dict(tensors, strict=False)


def freeze(network: Network, *, parts: int) -> list[nn.Module]:
    """Keep the first parts, the stem and then the stages, as they are; return them.

    Their norms go on with the statistics that they have, so they must stay in evaluation mode.
    """
    frozen = [network.stem, *network.stages][:parts]
    for part in frozen:
        part.requires_grad_(False)
    return frozen


def _read(path: Path) -> Group:
    try:
        state: Group = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    except Exception as failure:  # whatever a damaged file makes torch raise
        reason = str(failure).splitlines()[0]
        raise SpaceError(f"pretrained weights must be a model's state: {path}: {reason}") from None


def _groups(state: Group) -> Iterator[Group]:
    """Yield the tensors of each layer, in order."""
    layers: dict[str, Group] = {}
    for name, tensor in state.items():
        layer, _, part = name.rpartition(".")
        if part != COUNTER:
            layers.setdefault(layer, {})[part] = tensor.float()
    yield from layers.values()


def _first(module: nn.Module, tensors: Group) -> Group:
    """Return a first convolution's filters for the channels and the kernel that there are."""
    weight = tensors["weight"]
    if not isinstance(module, nn.Conv2d) or weight.ndim != 4:
        return tensors
    if module.in_channels == 1:
        weight = weight.sum(1, keepdim=True)
    for axis in (2, 3):
        size = module.kernel_size[axis - 2]
        if weight.shape[axis] > size:
            weight = weight.narrow(axis, (weight.shape[axis] - size) // 2, size)
    return {**tensors, "weight": weight}


def _fits(module: nn.Module, tensors: Group, path: Path) -> bool:
    """Whether a layer has these tensors' shapes; only a fully connected one may have others."""
    own = {name: tensor for name, tensor in module.state_dict().items() if name != COUNTER}
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes == given:
        return True
    if isinstance(module, nn.Linear) and shapes.keys() == given.keys():
        return False
    raise SpaceError(f"pretrained weights must have a layer of {shapes}, but {path} has {given}")
