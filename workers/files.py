"""Where a job's files lie, and how a file or folder comes into being all at once."""

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from search.durable import make_folder, sync

PREDICTIONS = "validation.npy"  # a complete trial's probabilities of the rows it was judged on


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The artifact folder of one job: `ROOT/JOB/{folds-HASH.npz,trials,finalists,models,…}`."""

    root: Path
    job_id: str

    @property
    def folder(self) -> Path:
        """Everything of this job."""
        return self.root / self.job_id

    def folds(self, digest: str) -> Path:
        """Folds, by their hash, which the plan has: others may have prepared the job before."""
        return self.folder / f"folds-{digest[:16]}.npz"

    def model(self, fence: int) -> Path:
        """The verified model folder of whoever assembles under this fence."""
        return self.folder / "models" / str(fence)

    def trial(self, number: int) -> Path:
        """The folder of a trial, one folder a fence within."""
        return self.folder / "trials" / str(number)

    def finalist(self, trial: int, fold: int) -> Path:
        """The folder of a finalist on one fold, one folder a fence within."""
        return self.folder / "finalists" / f"{trial}-{fold}"

    @property
    def report(self) -> Path:
        """The last report that was made of the job, where the dashboard finds it."""
        return self.folder / "report.html"

    def relative(self, path: Path) -> str:
        """Return `path` as it is written into the store: below the job's folder."""
        return str(path.relative_to(self.folder))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whatever happens."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write an array as `.npy`, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_atomically(path, buffer.getvalue())


@contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its place when the block ends well."""
    make_folder(path.parent)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        staging.chmod(0o755)
        yield staging
        for written in (*staging.iterdir(), staging):
            sync(written)
        old = staging.with_name(f"{staging.name}.old")
        if replace and path.exists():
            os.replace(path, old)  # aside, so that a death here destroys nothing
        os.replace(staging, path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
