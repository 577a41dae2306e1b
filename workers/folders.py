"""A folder of class folders, with folders for training, validation and test above them or not."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spaces.errors import DataError
from workers.listing import PART_NAMES, TEST, TRAIN, VALIDATION, Listing, stamp
from workers.safe_paths import SHOWN, check_inside, check_name

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_DEPTH = 16  # folders below the data set's folder

Entry = tuple[str, int, int]  # path below the data's folder, bytes, time of change in ns


def list_folder(root: Path) -> Listing:
    """List the images of a folder, by path; the folder right above the images' names the class.

    Where all folders at the top are called train, val (valid, validation) and test, class folders
    lie within these. Within a class, folders may be nested.

    Raises:
        DataError: there are no class folders, or a name or link is refused.
    """
    parts = _parts(root)
    tops = list(parts) if parts else [""]
    names = sorted({name for top in tops for name in _folders(root / top)})
    if len(names) < 2:
        raise DataError(
            f"a folder of images must hold a folder for each of two classes or more, "
            f"but {root} has {', '.join(names) or 'none'}"
        )
    files: list[tuple[Entry, int, int]] = []
    others: Counter[str] = Counter()
    for top in tops:
        for label, name in enumerate(names):
            within = f"{top}/{name}" if top else name
            found = sorted(_images(root, within, others)) if (root / within).is_dir() else []
            files += [(entry, label, parts.get(top, TRAIN)) for entry in found]
    if not files:
        raise DataError(f"{root} must hold image files, but its class folders have none")
    entries = [entry for entry, _, _ in files]
    return Listing(
        name=root.name,
        reader={"kind": "files", "root": str(root)},
        rows=[path for path, _, _ in entries],
        labels=np.array([label for _, label, _ in files], dtype=np.int64),
        class_names=tuple(names),
        parts=np.array([part for _, _, part in files], dtype=np.int8) if parts else None,
        stamp=stamp(entries),
        notes=tuple(_notes(others)),
    )


def is_image_name(path: str) -> bool:
    """Whether a file is called like an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def images_below(root: Path) -> list[str]:
    """Return the paths of all image files below a folder, in order."""
    return sorted(path for path, _, _ in _images(root, "", Counter()))


def _parts(root: Path) -> dict[str, int]:
    """Return the folders that part the rows, and which part each is; none if there are none."""
    names = _folders(root)
    parts = {name: PART_NAMES[name.lower()] for name in names if name.lower() in PART_NAMES}
    if not parts or TRAIN not in parts.values():
        return {}
    others = [name for name in names if name not in parts]
    flat = all(not _folders(root / name) for name in parts)
    if len(others) > 1 and len(parts) == 1 and flat:  # a class of trains beside cars and buses
        return {}
    if others:
        raise DataError(
            f"folders beside {' and '.join(sorted(parts))} must be train, val or test, "
            f"but {root} has {others[0]} as well"
        )
    if len(set(parts.values())) < len(parts):
        raise DataError(f"{root} must have one folder for each part, but has {sorted(parts)}")
    order = {TRAIN: 0, VALIDATION: 1, TEST: 2}
    return dict(sorted(parts.items(), key=lambda item: order[item[1]]))


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, checked, hidden ones left out."""
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    for entry in found:
        check_name(entry.name, what="a folder's name")
        if entry.is_symlink():
            check_inside(Path(entry.path), folder.resolve())
    return [entry.name for entry in found]


def _images(root: Path, within: str, others: Counter[str], depth: int = 0) -> Iterator[Entry]:
    """Yield the image files below a folder; count the other files by their endings."""
    if depth > MAX_DEPTH:
        raise DataError(f"folders must be nested at most {MAX_DEPTH} deep, but {within} is deeper")
    with os.scandir(root / within) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = f"{within}/{entry.name}" if within else entry.name
            check_name(path, what="an image's path")
            if entry.is_symlink():
                check_inside(Path(entry.path), root.resolve())
            if entry.is_dir():
                yield from _images(root, path, others, depth + 1)
                continue
            if not is_image_name(entry.name):
                others[os.path.splitext(entry.name)[1].lower()[:SHOWN] or "no ending"] += 1
                continue
            state = entry.stat()
            if not stat.S_ISREG(state.st_mode):
                raise DataError(f"images must be plain files, but {root / path} is none")
            yield path, state.st_size, state.st_mtime_ns


def _notes(others: Counter[str]) -> list[str]:
    if not others:
        return []
    kinds = ", ".join(f"{count:,} {ending}" for ending, count in others.most_common(3))
    return [f"{sum(others.values()):,} files that are not called images are left aside ({kinds})"]
