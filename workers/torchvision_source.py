"""torchvision's classification data sets, by the names of their classes.

A data set that is in its folder is read as torchvision reads it; one that is not is downloaded by
torchvision, if its server answers. torchvision unpickles CIFAR's files, but only with the MD5 that
was published; what it reads with `torch.load` is refused: ImageNet, which is a folder of class
folders as well, and MNIST in its form of before 2020.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from search.sources import TorchvisionSource
from spaces.errors import DataError
from spaces.values import nearest
from workers.listing import TEST, TRAIN, VALIDATION, Listing, stamp

Part = tuple[int, dict[str, Any]]  # TRAIN, VALIDATION or TEST, and the arguments that give it

BY_TRAIN: list[Part] = [(TRAIN, {"train": True}), (TEST, {"train": False})]
BY_SPLIT: list[Part] = [(TRAIN, {"split": "train"}), (TEST, {"split": "test"})]
BY_THREE: list[Part] = [
    (TRAIN, {"split": "train"}),
    (VALIDATION, {"split": "val"}),
    (TEST, {"split": "test"}),
]
WHOLE: list[Part] = [(TRAIN, {})]
PARTS: dict[str, list[Part]] = {
    "CIFAR10": BY_TRAIN,
    "CIFAR100": BY_TRAIN,
    "Caltech101": WHOLE,
    "Caltech256": WHOLE,
    "Country211": [
        (TRAIN, {"split": "train"}),
        (VALIDATION, {"split": "valid"}),
        (TEST, {"split": "test"}),
    ],
    "DTD": BY_THREE,
    "EMNIST": [
        (TRAIN, {"split": "balanced", "train": True}),
        (TEST, {"split": "balanced", "train": False}),
    ],
    "EuroSAT": WHOLE,
    "FGVCAircraft": BY_THREE,
    "FashionMNIST": BY_TRAIN,
    "Flowers102": BY_THREE,
    "Food101": BY_SPLIT,
    "GTSRB": BY_SPLIT,
    "Imagenette": [(TRAIN, {"split": "train"}), (VALIDATION, {"split": "val"})],
    "KMNIST": BY_TRAIN,
    "MNIST": BY_TRAIN,
    "OxfordIIITPet": [(TRAIN, {"split": "trainval"}), (TEST, {"split": "test"})],
    "PCAM": BY_THREE,
    "QMNIST": BY_TRAIN,
    "RenderedSST2": BY_THREE,
    "SEMEION": WHOLE,
    "STL10": BY_SPLIT,
    "SUN397": WHOLE,
    "SVHN": BY_SPLIT,
    "StanfordCars": BY_SPLIT,
    "USPS": BY_TRAIN,
}


def list_torchvision(
    source: TorchvisionSource, *, cache: Path, progress: Callable[[str], None]
) -> Listing:
    """List a data set's rows: those to learn from, then those of its other parts.

    Raises:
        DataError: torchvision knows no such set, or it is neither here nor can it be fetched.
    """
    if source.name not in PARTS:
        raise DataError(
            f"a torchvision data set for classification must be one of its classes, "
            f"but got {source.name!r}; {nearest(source.name, list(PARTS))}"
        )
    root = source.root or cache / "torchvision" / source.name
    if not root.is_dir():
        if source.root is not None:
            raise DataError(f"a torchvision data set's root must be a folder, but {root} is none")
        root.mkdir(parents=True, exist_ok=True)
    old = next(root.glob("*/processed/*.pt"), None)
    if old is not None:
        raise DataError(f"files that need torch.load are not read: remove {old}")
    wanted = PARTS[source.name]
    opened = _opened_or_fetched(source.name, root, [how for _, how in wanted], progress)
    labels = np.concatenate([_labels(part) for part in opened])
    sizes = [len(part) for part in opened]
    parts = np.repeat([kind for kind, _ in wanted], sizes).astype(np.int8)
    return Listing(
        name=source.name,
        reader={
            "kind": "torchvision",
            "name": source.name,
            "root": str(root),
            "parts": [how for _, how in wanted],
        },
        rows=[str(row) for row in range(len(labels))],
        labels=labels,
        class_names=_class_names(opened[0], labels),
        parts=parts if len(wanted) > 1 else None,
        stamp=stamp(_files(root)),
    )


def open_parts(name: str, root: Path, parts: Sequence[dict[str, Any]]) -> list[Any]:
    """Return a data set's parts, which must be there."""
    import torchvision

    return [getattr(torchvision.datasets, name)(str(root), **how) for how in parts]


def _opened_or_fetched(
    name: str, root: Path, parts: Sequence[dict[str, Any]], progress: Callable[[str], None]
) -> list[Any]:
    import torchvision

    try:
        return open_parts(name, root, parts)
    except Exception as failure:  # each says in its own way that files are missing
        missing = _one_line(failure)
    kind = getattr(torchvision.datasets, name)
    if not {"download", "kwargs"} & set(inspect.signature(kind.__init__).parameters):
        raise DataError(
            f"torchvision cannot fetch {name}: put it into {root} ({missing})"
        ) from None
    progress(f"torchvision downloads {name} to {root}")
    try:
        return [kind(str(root), download=True, **how) for how in parts]
    except Exception as failure:
        raise DataError(
            f"{name} must be in {root} or within torchvision's reach, but: {missing}; "
            f"fetching it: {_one_line(failure)}"
        ) from None


def _one_line(failure: Exception) -> str:
    return (str(failure).strip() or type(failure).__name__).replace("\n", " ")


def _labels(part: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the labels of a part: from where torchvision keeps them, else one after the other.

    QMNIST keeps eight numbers an image, the class first.
    """
    for name in ("targets", "labels", "_labels", "y"):
        found = getattr(part, name, None)
        if found is not None and len(found) == len(part):
            labels = np.asarray(found).astype(np.int64)
            return labels.reshape(len(part), -1)[:, 0]
    return np.array([part[row][1] for row in range(len(part))], dtype=np.int64)


def _class_names(part: Any, labels: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[str, ...]:
    count = int(labels.max()) + 1
    for name in ("classes", "categories"):
        found = getattr(part, name, None)
        if found is not None and len(found) >= count:
            return tuple(each if isinstance(each, str) else ", ".join(each) for each in found)
    return tuple(str(label) for label in range(count))


def _files(root: Path) -> list[tuple[str, int, int]]:
    """Return the state of all files below a data set's folder."""
    states = [(path, path.stat()) for path in sorted(root.rglob("*")) if path.is_file()]
    return [(str(path), state.st_size, state.st_mtime_ns) for path, state in states]
