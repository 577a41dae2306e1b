"""A network begins with the weights of torchvision's model, as far as its layers are the same."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from spaces.errors import SpaceError
from spaces.network import Network
from spaces.pretrained import cache_folder, resolved

Group = dict[str, Tensor]  # tensors of one layer, by name
KINDS = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
COUNTER = "num_batches_tracked"


def load_pretrained(network: Network, reference: str) -> None:
    """Copy the weights of a torchvision model's state into a network of the same layers.

    Layers are paired in the order of torchvision's module. The first convolution sees grey images
    with the sum of its filters over the colours, as if these were equal, and a smaller kernel with
    its filters' middle. Fully connected layers of other sizes, as for smaller images, and the last
    one, whose classes are others, keep their random weights.

    Raises:
        SpaceError: the file is missing, is no such state, or its layers are others.
    """
    name, path = resolved(reference)
    theirs = _layers(name, _state(name, path))
    ours = [module for module in network.modules() if isinstance(module, KINDS)]
    with torch.no_grad():
        for index, (module, tensors) in enumerate(zip(ours, theirs, strict=True)):
            if index == 0:
                tensors = _first(module, tensors)
            if module is not ours[-1] and _fits(module, tensors, reference):
                module.load_state_dict(tensors, strict=False)


def freeze(network: Network, *, parts: int) -> list[nn.Module]:
    """Keep the first parts, the stem and then the stages, as they are; return them.

    Their norms go on with the statistics that they have, so they must stay in evaluation mode.
    """
    frozen = [network.stem, *network.stages][:parts]
    for part in frozen:
        part.requires_grad_(False)
    return frozen


def _state(name: str, path: Path | None) -> Group:
    """Return the state of a torchvision model: from a file, or torchvision's own."""
    from torchvision.models import get_model_weights

    try:
        if path is not None:
            return load_file(path)
        files = cache_folder()
        known = [one for one in get_model_weights(name) if (files / Path(one.url).name).is_file()]
        if not known:
            raise SpaceError(f"{files} must have weights of {name} that torchvision knows")
        return dict(known[-1].get_state_dict(progress=False, weights_only=True))
    except SpaceError:
        raise
    except Exception as failure:  # whatever a damaged file makes the libraries raise
        reason = str(failure).splitlines()[0]
        raise SpaceError(
            f"pretrained weights must be the state of {name}: {path or 'torchvision'}: {reason}"
        ) from None


def _layers(name: str, state: Group) -> list[Group]:
    """Return the tensors of each layer of a torchvision model, in order."""
    from torchvision.models import get_model  # takes a second, which few trainings need

    with torch.device("meta"):
        model = get_model(name, weights=None)
    layers: list[Group] = []
    for prefix, module in model.named_modules():
        if isinstance(module, KINDS):
            names = [key for key in module.state_dict() if key != COUNTER]
            missing = [key for key in names if f"{prefix}.{key}" not in state]
            if missing:
                raise SpaceError(
                    f"pretrained weights must be the state of {name}, "
                    f"but have no {prefix}.{missing[0]}"
                )
            layers.append({key: state[f"{prefix}.{key}"].float() for key in names})
    return layers


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


def _fits(module: nn.Module, tensors: Group, reference: str) -> bool:
    """Whether a layer has these tensors' shapes; only a fully connected one may have others."""
    own = {name: tensor for name, tensor in module.state_dict().items() if name != COUNTER}
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes == given:
        return True
    if isinstance(module, nn.Linear) and shapes.keys() == given.keys():
        return False
    raise SpaceError(f"pretrained weights need a layer of {shapes}, but {reference} has {given}")
