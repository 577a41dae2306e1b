"""The mishaps that are planned for a worker: it stops, dies, hangs or breaks at a chosen point."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from benchmarks.mishaps.diary import Diary
from benchmarks.mishaps.places import Place
from search.store import Lease, StudyStore
from workers.training import Training


@dataclass(frozen=True, slots=True)
class StopAt:
    """SIGSTOP at the n-th point at which something is about to be written under a lease.

    Points are: each transaction before it begins, each file before it is opened for writing,
    renamed or removed. So a worker is stopped between every check and every write.

    Attributes:
        within: of a job; other jobs' points are not counted.
    """

    point: int
    within: str

    def prepare(self, store: StudyStore, diary: Diary, place: Place) -> None:
        """Count points from now on."""
        _Points(diary, store, place, job_id=self.within, last=self.point).watch()


class _Points:
    """Counts the points of the main thread, and stops the process at the last."""

    def __init__(
        self, diary: Diary, store: StudyStore, place: Place, *, job_id: str, last: int
    ) -> None:
        self._diary, self._store, self._job_id = diary, store, job_id
        self._artifacts = str(place.artifacts)
        self._last, self._seen = last, 0
        self._beating = threading.RLock()  # the main thread beats, too, before what takes long

    def watch(self) -> None:
        """Count from now on."""
        beat = self._store.beats.beat

        def beaten(*arguments: Any) -> Any:
            with self._beating:  # a process that stops within a beat would stop within a write
                return beat(*arguments)

        vars(self._store.beats).update(beat=beaten)
        sa.event.listen(sa.Pool, "checkout", lambda *_: self._reach("transaction"))
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove"):
            return
        path = str(arguments[0])
        reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if path.startswith(self._artifacts) and not reads:
            self._reach(f"{event} {path.rpartition('/')[2]}")

    def _reach(self, what: str) -> None:
        lease = self._diary.lease
        mine = threading.current_thread() is threading.main_thread()
        if not mine or lease is None or not lease.key.startswith(self._job_id):
            return
        self._seen += 1
        if self._seen == self._last:
            with self._beating:
                self._diary.note("stop", key=lease.key, point=self._last, what=what)
                os.kill(os.getpid(), signal.SIGSTOP)


@dataclass(frozen=True, slots=True)
class DieAtClaim:
    """SIGKILL right after a claim, before the lease is renewed for the first time."""

    key: str

    def prepare(self, store: StudyStore, diary: Diary, place: Place) -> None:
        """Wait for the claim."""
        claim = store.leases.claim

        def claimed(key: str, **options: Any) -> Lease | None:
            lease = claim(key, **options)
            if lease is not None and key.endswith(self.key):
                os.kill(os.getpid(), signal.SIGKILL)
            return lease

        vars(store.leases).update(claim=claimed)


Kind = Literal["hang", "segfault", "out of memory"]


def _hang() -> None:
    while True:
        time.sleep(1.0)


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # as the system does when memory runs out


BREAK: dict[Kind, Callable[[], None]] = {
    "hang": _hang,
    "segfault": _segfault,
    "out of memory": _killed,
}


@dataclass(frozen=True, slots=True)
class BreakIn:
    """Breaks in a chosen trial or fold, at every attempt or at the first alone.

    Attributes:
        key: the end of the key of the lease under which it happens.
        after: finished epochs, after which it happens in the next one.
    """

    kind: Kind
    key: str
    once: bool = False
    after: int = 1

    def prepare(self, store: StudyStore, diary: Diary, place: Place) -> None:
        """Wait for the epoch."""
        run = Training.run

        def broken(training: Training, *, interrupt: Callable[[], None], **options: Any) -> None:
            def interrupted() -> None:
                interrupt()
                lease = diary.lease
                chosen = lease is not None and lease.key.endswith(self.key)
                if chosen and training.epoch == self.after and not self._is_over(place):
                    diary.note("break", key=lease.key if lease else "", what=self.kind)
                    BREAK[self.kind]()

            run(training, interrupt=interrupted, **options)

        Training.run = broken  # type: ignore[assignment, method-assign]

    def _is_over(self, place: Place) -> bool:
        mark = place.folder / f"broken-{self.key.replace('/', '-')}"
        if not self.once:
            return False
        over = mark.exists()
        mark.touch()
        return over
