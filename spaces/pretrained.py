"""Where the weights of a trained torchvision model are, for networks that begin with them."""

import os
from pathlib import Path

from spaces.errors import SpaceError

TORCHVISION = "torchvision"  # stands for torchvision's own weights of the same network
LIKE_TORCHVISION = ("alexnet", "vgg11", "vgg16", "resnet18", "resnet34", "resnet50", "resnet152")
SUFFIX = ".safetensors"


def reference_of(name: str, weights: str) -> str:
    """Return what a recipe calls the weights of a named network."""
    return f"{name}:{weights}"


def resolved(reference: str) -> tuple[str, Path | None]:
    """Return a reference's network and file; None for torchvision's own weights, if they are here.

    Nothing is downloaded: torchvision does so when somebody makes its model with weights.

    Raises:
        SpaceError: the file is not here.
    """
    name, _, weights = reference.partition(":")
    if weights != TORCHVISION:
        path = Path(weights)
        if path.is_file():
            return name, path
        raise SpaceError(f"pretrained weights must be a file, but {path} is none")
    folder = cache_folder()
    if not any(folder.glob(f"{name}-*.pth")):
        raise SpaceError(
            f"pretrained weights of {name} must be in torch's cache, "
            f"but there is no {name}-*.pth in {folder}"
        )
    return name, None


def cache_folder() -> Path:
    """Return where torch keeps what it has downloaded."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()
    return home / "hub" / "checkpoints"
