"""A pool of worker processes on this machine; it imports no torch, so it starts at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spaces.errors import JobFailed

BACKOFF_SECONDS = 0.5  # before the first restart of a worker that died; doubled each time
MAX_BACKOFF_SECONDS = 15.0
MAX_DEATHS = 5  # without any progress in between, after which the pool gives up
STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment of a process that computes with so many threads.

    Threads that wait for each other sleep: by default they spin, which on a processor that is
    shared takes the time from the very thread that they wait for. Freed memory stays with the
    process: glibc gives large blocks back, and to map a step's activations anew took up to a
    twentieth of the step.
    """
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    }


@dataclass(frozen=True, slots=True)
class WorkerCommand:
    """How to start a worker; connections are made by the worker itself."""

    store_url: str
    artifacts: Path
    cache: Path
    threads: int
    job_id: str | None = None

    def arguments(self) -> list[str]:
        """Return the command line."""
        # -P: a folder called `workers` where the user stands must not be imported
        command = [sys.executable, "-P", "-m", "workers.worker"]
        command += ["--store", self.store_url, "--artifacts", str(self.artifacts)]
        command += ["--cache", str(self.cache), "--threads", str(self.threads)]
        command += ["--parent", str(os.getpid())]
        return command if self.job_id is None else [*command, "--job", self.job_id]

    @property
    def logs(self) -> Path:
        """The folder of the workers' messages, one file a worker."""
        return self.artifacts / (self.job_id or "") / "logs"


@dataclass(slots=True)
class _Slot:
    """One place in the pool and the process that has it now."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    done: bool = False


class LocalPool:
    """Starts workers, restarts those that die, and stops them all.

    Args:
        progress: returns a number that grows whenever the work gets forward. Workers that
            die five times while it stays the same make `watch` raise `JobFailed`.
    """

    def __init__(self, command: WorkerCommand, *, size: int, progress: Callable[[], float]) -> None:
        self._command = command
        self._slots = [_Slot(number) for number in range(size)]
        self._progress = progress
        self._reached = float("-inf")
        self._deaths = 0

    def __enter__(self) -> "LocalPool":
        self._command.logs.mkdir(parents=True, exist_ok=True)
        try:
            for slot in self._slots:
                self._start(slot)
        except BaseException:  # Ctrl-C between two starts: `with` calls no __exit__ yet
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> int:
        """How many workers are alive."""
        return sum(slot.process is not None and slot.process.poll() is None for slot in self._slots)

    @property
    def finished(self) -> bool:
        """Whether every worker has ended by itself, with nothing left to do."""
        return all(slot.done for slot in self._slots)

    def watch(self) -> None:
        """Restart what died since the last call; `JobFailed` once that is hopeless."""
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
            if not slot.done:
                slot.start_at = now + self._count_death(slot, status)

    def stop(self) -> None:
        """Ask every worker to end at its next step, and wait; kill those that do not."""
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

    def _start(self, slot: _Slot) -> None:
        with self._log(slot).open("ab") as log:
            slot.process = subprocess.Popen(
                self._command.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=thread_environment(self._command.threads),
                start_new_session=True,  # Ctrl-C reaches the pool alone, which then stops them
            )

    def _count_death(self, slot: _Slot, status: int) -> float:
        """Count a death; return the seconds until the next start."""
        reached = self._progress()
        if reached > self._reached:
            self._reached, self._deaths = reached, 0
        self._deaths += 1
        if self._deaths >= MAX_DEATHS:
            raise JobFailed(
                f"a worker may die at most {MAX_DEATHS - 1} times without an epoch in between, "
                f"but this was number {self._deaths} (exit status {status}); "
                f"its last words: {self._last_words(slot)}; log: {self._log(slot)}"
            )
        return min(BACKOFF_SECONDS * 2.0 ** (self._deaths - 1), MAX_BACKOFF_SECONDS)

    def _log(self, slot: _Slot) -> Path:
        return self._command.logs / f"worker-{slot.number}.log"

    def _last_words(self, slot: _Slot) -> str:
        lines = self._log(slot).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "none"
