"""Many images are read at once: sizes first, then pixels, by processes that may die of them."""

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from search.machine import usable_cores
from spaces.errors import DataError
from workers.decode_worker import READY, Failures

AT_ONCE = 64  # images that a process is asked for at a time; of fewer there is one process
WAIT_SECONDS = 0.2  # between two looks at whether Ctrl-C came
CRASH = ("broken", "the decoder crashed")
SOURCES = Path(__file__).resolve().parent.parent  # what the processes import is found there


class DecodePool:
    """Processes, one a core, that answer a folder's requests.

    They are kept from one request to the next, as they start slowly.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._idle: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            _end(self._idle.pop())

    def read(self, count: int, *, progress: Callable[[int], None]) -> tuple[list[Any], Failures]:
        """Read all rows of the request; return what is asked for of each, and the failures.

        That is a size, or where images are decoded, the digest of its content.

        Args:
            progress: told now and then how many rows are done.

        Raises:
            DataError: the processes do not start.
        """
        shared = _Shared(count)
        threads = [
            threading.Thread(target=self._ask, args=(shared,), daemon=True)
            for _ in range(min(usable_cores(), -(-count // AT_ONCE)))
        ]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(WAIT_SECONDS)
                progress(shared.done)
        finally:
            shared.stop()
            for thread in threads:
                thread.join()
        if shared.done < count:
            raise DataError(f"images could not be read, as the processes failed: {shared.reason}")
        return shared.found, shared.failures

    def _ask(self, shared: "_Shared") -> None:
        """Keep one process busy; start another if it dies of its rows."""
        process = None
        while (rows := shared.take()) is not None:
            if process is None:
                process = self._ready(shared)
                if process is None:
                    shared.reason = "they end at their start (run with --debug to see why)"
                    return
            line = _exchange(process, rows)
            if line:
                shared.add(*rows, json.loads(line))
                continue
            shared.processes.discard(process)
            _end(process)
            if shared.stopped:
                return
            process = None
            shared.died(*rows)
        if process is not None:
            shared.processes.discard(process)
            self._idle.append(process)

    def _ready(self, shared: "_Shared") -> subprocess.Popen[str] | None:
        """Return a process that has read the request; None if none does."""
        while True:
            kept = None
            with suppress(IndexError):
                kept = self._idle.pop()
            process = _start(self.folder) if kept is None else kept
            shared.processes.add(process)
            if _exchange(process, None) == READY:
                return process
            shared.processes.discard(process)
            _end(process)
            if kept is None or shared.stopped:
                return None


class _Shared:
    """The rows that are still to be read, and what was found."""

    def __init__(self, count: int) -> None:
        starts = range(0, count, AT_ONCE)
        self.open = deque((begin, min(begin + AT_ONCE, count)) for begin in starts)
        self.found: list[Any] = [None] * count
        self.failures: Failures = {}
        self.done = 0
        self.reason = ""
        self.processes: set[subprocess.Popen[str]] = set()
        self.stopped = False
        self._lock = threading.Lock()

    def take(self) -> tuple[int, int] | None:
        with self._lock:
            return self.open.popleft() if self.open and not self.stopped else None

    def add(self, begin: int, end: int, answer: dict[str, Any]) -> None:
        with self._lock:
            each = answer.get("headers") or answer.get("digests") or []
            self.found[begin : begin + len(each)] = each
            self.failures |= {row: tuple(said) for row, said in answer["failures"].items()}
            self.done += end - begin

    def died(self, begin: int, end: int) -> None:
        """Halve the rows that a process died of, until it is one; that one is at fault."""
        if end - begin == 1:
            self.add(begin, end, {"failures": {str(begin): CRASH}})
            return
        middle = (begin + end) // 2
        with self._lock:
            self.open.extendleft([(begin, middle), (middle, end)])

    def stop(self) -> None:
        with self._lock:
            self.stopped = True
        for process in list(self.processes):
            process.kill()


def _start(folder: Path) -> subprocess.Popen[str]:
    paths = [str(SOURCES), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "workers.decode_worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("ATHANOR_DEBUG") else subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


def _exchange(process: subprocess.Popen[str], asked: tuple[int, int] | None) -> str:
    """Return the answer, or nothing if the process is dead.

    Args:
        asked: rows, or None: to read the request.
    """
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
    except OSError:
        return ""
    return _line(process)


def _line(process: subprocess.Popen[str]) -> str:
    """Return the next line; nothing if the process died before it had written all of it."""
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
    except (OSError, ValueError):  # ValueError: no UTF-8
        return ""
    return line if line.endswith("\n") else ""


def _end(process: subprocess.Popen[str]) -> None:
    """Close a process's input, which ends it."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    process.stdout.close()
    process.wait()
