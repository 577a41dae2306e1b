"""Workers that can be killed in numbers: forked from a process that has imported everything.

What they run is the worker's own `main`. A mishap may be planned for one of them, and a diary
listens; neither changes what a worker does until the mishap happens.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmarks.mishaps.diary import Diary
from benchmarks.mishaps.forks import fork
from benchmarks.mishaps.places import Place
from search.store import StudyStore
from workers import worker

LIMIT_SECONDS = 300.0  # for anything that is waited for; only a hang takes as long
LOOK_SECONDS = 0.25


class Mishap(Protocol):
    """What is to happen to a worker."""

    def prepare(self, store: StudyStore, diary: Diary, place: Place) -> None:
        """Lay it, in the worker's process, before the worker begins."""


class Employee:
    """One worker process."""

    def __init__(
        self, place: Place, name: str, *, job_id: str | None = None, mishap: Mishap | None = None
    ) -> None:
        self.name, self.place = name, place
        self._process = fork(_work, place, name, job_id, mishap)
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    @property
    def stopped(self) -> bool:
        """Whether the process has been stopped by a signal."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.join()

    def end(self) -> int | None:
        """Ask the worker to end at its next step, and wait; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.join()

    def join(self) -> int | None:
        """Wait until the process is gone; return its exit status."""
        self._process.join(LIMIT_SECONDS)
        return self._process.exitcode


def _work(place: Place, name: str, job_id: str | None, mishap: Mishap | None) -> None:
    """Be a worker, with its messages in a file."""
    output = os.open(place.messages, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)

    def opened(url: str, **options: Any) -> StudyStore:
        store = place.store(**options)
        diary = Diary(place.diary)
        diary.attend(store)
        if mishap is not None:
            mishap.prepare(store, diary, place)
        return store

    os.environ["ATHANOR_STORE"] = place.url
    vars(worker)["StudyStore"] = opened
    options = ["--artifacts", str(place.artifacts), "--cache", str(place.cache), "--name", name]
    sys.exit(worker.main([*options, *(["--job", job_id] if job_id is not None else [])]))


def wait_until(reached: Callable[[], Any], *, what: str) -> Any:
    """Return the first true answer; a wait without end is an error."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (answer := reached()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {LIMIT_SECONDS:g} seconds until {what}")
        time.sleep(LOOK_SECONDS)
    return answer
