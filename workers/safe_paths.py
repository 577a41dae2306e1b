"""Paths that were handed over with a data set must stay inside its folder and be fit to print."""

import os
import unicodedata
from pathlib import Path, PurePosixPath

from spaces.errors import DataError

MAX_PATH = 1024  # bytes of a path below the data set's folder
SHOWN = 80  # characters of a name in a message


def check_name(name: str, *, what: str) -> None:
    """Raise `DataError` if a name cannot be printed or is overlong.

    Args:
        what: whose name it is, for the message.
    """
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        raise DataError(
            f"{what} must be UTF-8 without control characters, but got {name[:SHOWN]!a}"
        )
    if len(name.encode()) > MAX_PATH:
        raise DataError(f"{what} must have at most {MAX_PATH} bytes, but {name[:SHOWN]}… has more")


def check_relative(path: str, *, where: str) -> None:
    """Raise `DataError` unless a path from a table is one below the data set's folder.

    Args:
        where: the table's row, for the message.
    """
    check_name(path, what=f"{where}: a path")
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise DataError(
            f"{where}: a path must lie below the data's folder, without '..', but got {path!r}"
        )


def check_inside(path: Path, root: Path) -> None:
    """Raise `DataError` if a path, its links followed, leaves a folder.

    Args:
        root: the folder, resolved.
    """
    try:
        inside = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        raise DataError(f"links must stay inside the data's folder {root}, but {path} leaves it")


class InsideChecker:
    """Checks many files of one folder: each folder on the way once, each file's own link."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._resolved = root.resolve()
        self._checked: set[str] = set()

    def check(self, relative: str) -> None:
        """Raise `DataError` if the file, its links followed, leaves the folder."""
        folder, _, _ = relative.rpartition("/")
        if folder not in self._checked:
            check_inside(self._root / folder, self._resolved)
            self._checked.add(folder)
        path = self._root / relative
        if os.path.islink(path):
            check_inside(path, self._resolved)
