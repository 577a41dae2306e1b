"""Data sets that Hugging Face's `datasets` has saved with `save_to_disk` (an extra dependency)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spaces.errors import DataError
from workers.listing import PART_NAMES, TRAIN, Listing, stamp

LABELS = ("label", "labels", "class", "fine_label")
EXTRA = "pip install 'athanor-nas[huggingface]'"


def list_hugging_face(root: Path) -> Listing:
    """List the rows of a saved `Dataset`, or of a `DatasetDict` with train, validation, test.

    Raises:
        DataError: it is none, lacks images or labels, or the library is not installed.
    """
    tables = _loaded(root)
    first = next(iter(tables.values()))
    image = _image_column(root, first.features)
    label = next((name for name in LABELS if name in first.features), None)
    if label is None:
        raise DataError(f"{root} must have a column named label, but has {list(first.features)}")
    names = getattr(first.features[label], "names", None)
    order = sorted(tables, key=lambda name: PART_NAMES[name])
    values = [value for name in order for value in tables[name][label]]
    labels, class_names = _numbered(root, values, names)
    files = sorted(root.rglob("*.arrow"))
    states = [(str(path.relative_to(root)), path.stat()) for path in files]
    parts = np.concatenate(
        [np.full(len(tables[name]), PART_NAMES[name], dtype=np.int8) for name in order]
    )
    return Listing(
        name=root.name,
        reader={"kind": "hugging face", "root": str(root), "tables": order, "image": image},
        rows=[f"{name}/{row}" for name in order for row in range(len(tables[name]))],
        labels=labels,
        class_names=class_names,
        parts=parts if (parts != TRAIN).any() else None,
        stamp=stamp([(path, state.st_size, state.st_mtime_ns) for path, state in states]),
    )


def open_tables(root: Path, names: Sequence[str], image: str) -> list[Any]:
    """Return the tables of a saved data set, their images as encoded bytes."""
    import datasets

    tables = _loaded(root)
    encoded = datasets.Image(decode=False)
    return [tables[name].select_columns([image]).cast_column(image, encoded) for name in names]


def _loaded(root: Path) -> dict[str, Any]:
    """Return the tables by their part's name."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(f"hf: needs the library datasets, which is not here: {EXTRA}") from None
    if not root.is_dir():
        raise DataError(f"hf: must be followed by the folder of a data set, but {root} is none")
    try:
        found = datasets.load_from_disk(str(root))
    except Exception as failure:
        line = str(failure).replace("\n", " ")
        raise DataError(f"{root} must be what `save_to_disk` of datasets wrote: {line}") from None
    if isinstance(found, datasets.Dataset):
        return {"train": found}
    tables = dict(found)
    unknown = [name for name in tables if name not in PART_NAMES]
    if unknown or not any(PART_NAMES[name] == TRAIN for name in tables):
        raise DataError(f"{root} must have the parts train, validation, test: {list(tables)}")
    return tables


def _image_column(root: Path, features: Any) -> str:
    import datasets

    found = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if len(found) != 1:
        raise DataError(f"{root} must have one column of images, but has {len(found)}: {features}")
    return str(found[0])


def _numbered(
    root: Path, values: list[Any], names: list[str] | None
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], tuple[str, ...]]:
    """Return labels from 0 and the classes' names."""
    if any(value is None or value == -1 for value in values):
        raise DataError(f"{root}: every image must have a label")
    if names is not None:
        return np.array(values, dtype=np.int64), tuple(names)
    found = sorted(set(values))
    places = {value: place for place, value in enumerate(found)}
    labels = np.array([places[value] for value in values], dtype=np.int64)
    return labels, tuple(str(value) for value in found)
