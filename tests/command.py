"""The command line, as a person runs it: in a process of its own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from athanor.cli import run
from search.store import StudyStore

LIMIT_SECONDS = 280.0  # for any command of a test; a search that should be refused must not run on


def on_one_core() -> list[str]:
    """Return the start of a command that keeps a process to a core, each pytest worker's its own.

    A job with one worker computes with as many threads as it sees cores. Beside another test
    these wait for each other most of the time: four times as long as alone.
    """
    cores = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return ["taskset", "--cpu-list", str(cores[worker % len(cores)])]


def athanor(
    *arguments: str | Path, cwd: Path, start: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end; `start` comes before the command."""
    return subprocess.run(
        [*start, sys.executable, "-m", "athanor", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )


def asked(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that only asks or tells the store, in this process, which starts sooner."""
    said, told = io.StringIO(), io.StringIO()
    given, sys.argv = sys.argv, ["athanor", *map(str, arguments)]
    try:
        with chdir(cwd), redirect_stdout(said), redirect_stderr(told):
            status = run()
    finally:
        sys.argv = given
    return subprocess.CompletedProcess(arguments, status, said.getvalue(), told.getvalue())


def result_of(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a command printed as JSON."""
    assert process.returncode == 0, process.stderr
    result: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    return result


def worker_processes(store: StudyStore) -> list[int]:
    """Return the process ids of the workers that hold something."""
    marks = [f"--name\0{worker.id}\0".encode() for worker in store.beats.all() if worker.doing]
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:  # it has ended since
            continue
        if any(mark in command for mark in marks):
            found.append(int(entry.parent.name))
    return found
