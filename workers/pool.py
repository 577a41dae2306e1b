"""A pool of worker processes on this machine; it imports no torch, so it starts at once."""

import os
import platform
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy.exc import SQLAlchemyError

from search.store import StudyStore
from spaces.errors import JobFailed, WorkerUnfit
from workers.environment import thread_environment
from workers.logs import words_of

BACKOFF_SECONDS = 0.5  # before the first restart of a worker that died; doubled each time
MAX_BACKOFF_SECONDS = 15.0
MAX_DEATHS = 5  # of one slot's workers before any got to work, after which the pool gives up
STEADY_SECONDS = 60.0  # after which a service's worker that had nothing to do was a good one
STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL
UNFIT = 6  # exit status of a worker that does not see what its job was planned with
SILENT_SECONDS = 45.0  # without a beat, after which a worker is killed: not even its pulse runs
FIRST_BEAT_SECONDS = 120.0  # that a start may take besides: torch from a slow disk, for instance
LOCAL = "local"  # the address of a Ray cluster of this machine alone
GPU_SHARE = "ATHANOR_GPU_SHARE"  # environment: of a GPU's memory that a worker may use
LOOK_SECONDS = 5.0  # between two looks for silent workers


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How to start a worker; connections are made by the worker itself.

    Attributes:
        workers: that the pool has; jobs that state no number are planned for so many.
        gpu_share: of the memory of its GPU that it may use; several share a card without walls.
    """

    store_url: str
    artifacts: Path
    cache: Path
    threads: int
    workers: int
    job_id: str | None = None
    gpu_share: float = 1.0

    def to_config(self) -> dict[str, Any]:
        """Return the command as JSON, to be sent to another machine."""
        paths = {"artifacts": str(self.artifacts), "cache": str(self.cache)}
        return {**asdict(self), **paths}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WorkerCommand":
        """Build from what `to_config` returned."""
        paths = {name: Path(config[name]) for name in ("artifacts", "cache")}
        return cls(**{**config, **paths})

    def arguments(self, *, name: str) -> list[str]:
        """Return the command line; `name` is unlike all other workers'."""
        # -P: a folder called `workers` where the user stands must not be imported
        command = [sys.executable, "-P", "-m", "workers.worker", "--name", name]
        command += ["--artifacts", str(self.artifacts), "--cache", str(self.cache)]
        command += ["--threads", str(self.threads), "--workers", str(self.workers)]
        command += ["--parent", str(os.getpid())]
        return command if self.job_id is None else [*command, "--job", self.job_id]

    def environment(self) -> dict[str, str]:
        """Return the environment; the store's URL may hold a password, so others do not see it."""
        return {
            **thread_environment(self.threads),
            "ATHANOR_STORE": self.store_url,
            GPU_SHARE: str(self.gpu_share),
        }

    @property
    def logs(self) -> Path:
        """The folder of the workers' messages, one file a worker."""
        return self.artifacts / (self.job_id or "") / "logs"


@dataclass(frozen=True, slots=True)
class RaySlots:
    """Where a Ray cluster is ("local" starts one here), and what each worker slot on it gets.

    A share of a GPU is a share of its memory as well.
    """

    address: str
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(slots=True)
class _Slot:
    """One place in the pool and the process that has it now.

    Attributes:
        deaths: of its workers in a row, without a claim by anybody in between.
        claims: had been made when the last one died.
    """

    number: int
    name: str = ""
    starts: int = 0
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    done: bool = False
    silent: bool = False
    deaths: int = 0
    claims: float = float("nan")

    @property
    def stopped(self) -> bool:
        """Whether its process does not run because of a signal."""
        process = self.process
        with suppress(psutil.NoSuchProcess):
            return process is not None and _is_stopped(process.pid)
        return False

    def silence(self, seconds: dict[str, float]) -> float:
        """Return for how long its worker has been silent, by the store's record of beats."""
        since = time.monotonic() - self.started_at
        silent = seconds.get(self.name, since)
        if silent < since:
            return silent
        return since - FIRST_BEAT_SECONDS  # it has not beaten yet: the row is another one's

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self.process is not None and self.process.poll() is None


def _is_stopped(pid: int) -> bool:
    status: str = psutil.Process(pid).status()
    return status == psutil.STATUS_STOPPED


class LocalPool:
    """Starts workers, restarts those that die, ends those that are silent, and stops them all.

    Deaths at work are the work's own affair, which is given up after some attempts; but when
    five workers of a slot die one after the other and nobody gets to work, `watch` raises
    `JobFailed`.

    Args:
        store: in which what a dead worker held is given to others at once.
    """

    def __init__(
        self,
        command: WorkerCommand,
        *,
        store: StudyStore,
        size: int,
    ) -> None:
        self._command, self._store = command, store
        self._slots = [_Slot(number) for number in range(size)]
        self._keys = "" if command.job_id is None else f"{command.job_id}/"
        # machines may share a name, and containers the numbers of their processes
        self._name = f"{platform.node()}/{os.getpid()}-{secrets.token_hex(3)}"
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch_silence, name="silence", daemon=True)

    def __enter__(self) -> "LocalPool":
        self._command.logs.mkdir(parents=True, exist_ok=True)
        try:
            for slot in self._slots:
                self._start(slot)
            self._watcher.start()
        except BaseException:  # Ctrl-C between two starts: `with` calls no __exit__ yet
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> int:
        """How many workers are alive."""
        return sum(slot.running for slot in self._slots)

    @property
    def workers(self) -> list[str]:
        """What its workers are called in the store."""
        return [slot.name for slot in self._slots]

    @property
    def finished(self) -> bool:
        """Whether every worker has ended by itself, with nothing left to do."""
        return all(slot.done for slot in self._slots)

    def watch(self) -> None:
        """Restart what died since the last call.

        Raises:
            JobFailed: there is no hope that another start helps.
            WorkerUnfit: the job cannot be worked on from here.
        """
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None:
                if not slot.done and now >= slot.start_at:
                    self._start(slot)
                continue
            status = slot.process.poll()
            if status is None:
                continue
            slot.process = None
            slot.done = status == 0
            if status == UNFIT:
                raise WorkerUnfit(self._last_words(slot))
            if not slot.done:
                self._bury(slot, status)
                slot.start_at = now + self._count_death(slot, status)

    def stop(self) -> None:
        """Ask every worker to end at its next step, and wait; kill those that do not."""
        self._stopped.set()
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch_silence(self) -> None:
        """Kill workers that are silent, in a thread: one of them may hold up the whole store."""
        while not self._stopped.wait(LOOK_SECONDS):
            with suppress(SQLAlchemyError):
                self._end_silent()

    def _end_silent(self) -> None:
        """Kill workers whose pulse has stopped: their leases have run out.

        They must be silent at two looks: when a store comes back, or this machine wakes up, all
        of them seem to have been for a moment. If one of them is stopped, it may be so within a
        transaction, for which the others wait; whoever is silent because nobody can write lives.
        """
        silence = self._store.beats.silence(self.workers)
        silent = [slot for slot in self._slots if slot.silence(silence) > SILENT_SECONDS]
        stopped = [slot for slot in silent if slot.stopped]
        if stopped:
            silent = stopped
        elif silent and not self._store.beats.writable():
            silent = []
        for slot in self._slots:
            before, slot.silent = slot.silent, slot in silent
            process = slot.process
            if before and slot.silent and process is not None:
                process.kill()

    def _bury(self, slot: _Slot, status: int) -> None:
        # if the store is away, the lease runs out by itself
        with suppress(SQLAlchemyError):
            self._store.beats.bury(slot.name, reason=self._reason(slot, status))

    def _reason(self, slot: _Slot, status: int) -> str:
        if status == -signal.SIGKILL:
            return "its worker was killed (SIGKILL), as the system does when memory runs out"
        if status < 0:
            return f"its worker died of {signal.Signals(-status).name}"
        return f"its worker ended with status {status}; its last words: {self._last_words(slot)}"

    def _start(self, slot: _Slot) -> None:
        slot.starts += 1
        slot.name = f"{self._name}.{slot.number}.{slot.starts}"
        slot.started_at, slot.silent = time.monotonic(), False
        with self._log(slot).open("ab") as log:
            slot.process = subprocess.Popen(
                self._command.arguments(name=slot.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._command.environment(),
                start_new_session=True,  # Ctrl-C reaches the pool alone, which then stops them
            )

    def _count_death(self, slot: _Slot, status: int) -> float:
        """Count a death; return the seconds until the next start."""
        before, slot.claims = slot.claims, self._store.leases.claims(self._keys)
        if slot.claims != before or self._was_idle(slot):
            slot.deaths = 0
        slot.deaths += 1
        if slot.deaths >= MAX_DEATHS and not self._store.leases.held(self._keys):
            raise JobFailed(
                f"at most {MAX_DEATHS - 1} workers in a row may die before they get to work, "
                f"but this was number {slot.deaths} (exit status {status}); "
                f"its last words: {self._last_words(slot)}; log: {self._log(slot)}"
            )
        return min(BACKOFF_SECONDS * 2.0 ** (slot.deaths - 1), MAX_BACKOFF_SECONDS)

    def _was_idle(self, slot: _Slot) -> bool:
        """Whether a service's worker lived for some time, as far as anybody knows in good order."""
        lived = time.monotonic() - slot.started_at
        return self._command.job_id is None and not slot.silent and lived > STEADY_SECONDS

    def _log(self, slot: _Slot) -> Path:
        return self._command.logs / f"worker-{slot.number}.log"

    def _last_words(self, slot: _Slot) -> str:
        lines = self._log(slot).read_text(errors="replace").strip().splitlines()
        return words_of(lines[-1]) if lines else "none"
