"""Where the weights of a trained torchvision model are, for networks that begin with them."""

import os
from pathlib import Path

from spaces.errors import SpaceError

TORCHVISION = "torchvision"  # stands for torchvision's own weights of the same network
LIKE_TORCHVISION = ("alexnet", "vgg11", "vgg16", "resnet18", "resnet34", "resnet50", "resnet152")


def weights_file(reference: str) -> Path:
    """Return the file of "torchvision/NAME", from torch's cache, or of a path.

    Nothing is downloaded: torchvision does so when somebody makes its model with weights.

    Raises:
        SpaceError: there is no such file.
    """
    kind, _, name = reference.partition("/")
    if kind != TORCHVISION:
        path = Path(reference).expanduser()
        if path.is_file():
            return path
        raise SpaceError(f"pretrained weights must be a file, but {path} is none")
    folder = _torch_home() / "hub" / "checkpoints"
    found = sorted(folder.glob(f"{name}-*.pth"))
    if not found:
        raise SpaceError(
            f"pretrained weights of {name} must be in torch's cache, "
            f"but there is no {name}-*.pth in {folder}"
        )
    return found[-1]


def _torch_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()
