"""Files and folders that are on the disk for sure, their names included."""

import errno
import os
from pathlib import Path

UNSUPPORTED = (errno.EINVAL, errno.EBADF, errno.ENOTSUP)  # some file systems sync no folders


def sync(path: Path) -> None:
    """Bring a file's content, or the names within a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as failure:
        if failure.errno not in UNSUPPORTED or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)
