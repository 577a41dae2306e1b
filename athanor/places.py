"""Where things are kept: the study store, the artifacts, the cache."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from search.store import StudyStore
from search.store.sqlite import SCHEME
from spaces.errors import InputError
from workers.files import JobFiles

RUNS = Path("athanor-runs")
TOP_INDEX = "models.json"  # in a folder of several model folders


@dataclass(frozen=True, slots=True)
class Places:
    """The study store's URL, the folder of artifacts and the folder of downloads and probes."""

    store_url: str
    artifacts: Path
    cache: Path
    given: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: str | None, artifacts: Path | None) -> "Places":
        """Fill in what was not given from the environment, else `./athanor-runs`."""
        url = store or os.environ.get("ATHANOR_STORE") or f"{SCHEME}{RUNS.absolute()}/athanor.db"
        if "://" not in url:
            url = f"{SCHEME}{Path(url).expanduser().absolute()}"
        chosen = artifacts or Path(os.environ.get("ATHANOR_ARTIFACTS") or RUNS / "artifacts")
        cache = Path(os.environ.get("ATHANOR_CACHE") or Path.home() / ".cache" / "athanor")
        given = ["--store", store] if store else []
        given += ["--artifacts", str(artifacts)] if artifacts else []
        return cls(
            store_url=url,
            artifacts=chosen.expanduser().absolute(),
            cache=cache,
            given=tuple(given),
        )

    def arguments(self) -> list[str]:
        """Return the options that named these places on the command line."""
        return list(self.given)

    def open(self, *, create: bool = False, reads_only: bool = False) -> StudyStore:
        """Open the study store."""
        return StudyStore(self.store_url, create=create, reads_only=reads_only)

    def files(self, job_id: str) -> JobFiles:
        """Return the files of a job."""
        return JobFiles(self.artifacts, job_id)


def check_new_folder(path: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is done, a place where no folder can be made.

    Raises:
        InputError: it exists and is not to be overwritten, or its parent is not writable.
    """
    if path.exists() and not overwrite:
        raise InputError(f"--out must not exist yet, but {path} does; --overwrite replaces it")
    if path.exists() and not any((path / name).is_file() for name in ("model.json", TOP_INDEX)):
        raise InputError(f"--overwrite replaces model folders only, but {path} is none")
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:
        os.rmdir(tempfile.mkdtemp(dir=parent))  # permission bits alone do not tell
    except OSError as failure:
        raise InputError(f"--out must be in a folder that can be written to: {failure}") from None
