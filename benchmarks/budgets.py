"""Searches within a budget, undisturbed and disturbed: how late they end, and with what."""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

Mishap = Literal["none", "a worker killed", "slow disk"]
THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_iops_device")
WRITES_A_SECOND = 100  # of a slow hard disk
SLOWER = 2.0  # times, that writes must be to count as slow
HOPELESS = 300.0  # seconds beyond the budget, after which a search is ended


@dataclass(frozen=True, slots=True)
class BudgetRun:
    """A search to be run: seconds of its budget, and what happens to it.

    Attributes:
        of_devices: the budget counts the seconds of all processors that it uses.
    """

    budget: float
    seed: int
    mishap: Mishap = "none"
    of_devices: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """What tells the run's row from others."""
        return {
            "budget_s": self.budget,
            "seed": self.seed,
            "mishap": self.mishap,
            "of_devices": self.of_devices,
        }


def play(run: BudgetRun, *, data: str = "fashion-mnist") -> dict[str, Any]:
    """Run a search in an empty folder; return its row."""
    option = "--device-budget" if run.of_devices else "--budget"
    command = [sys.executable, "-m", "athanor", "search", "--data", data, "--json"]
    command += [option, f"{run.budget:g}s", "--seed", str(run.seed), "--out", "model"]
    command += ["--keep-test-closed"]
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="athanor-", ignore_cleanup_errors=True) as name:
        begin = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=name,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        out, errors = "", ""
        try:
            late = contextlib.suppress(subprocess.TimeoutExpired)
            with _mishap(run, process) as happened, late:
                out, errors = process.communicate(timeout=run.budget + HOPELESS)
        finally:
            process.kill()  # a no-op once it has ended
            process.wait()
        wall = time.monotonic() - begin
        usable = (Path(name) / "model" / "model.json").exists()
    row: dict[str, Any] = {**run.key, "wall_s": round(wall, 2), "usable": usable}
    if not happened:
        return row | {"failure": f"this has not happened: {run.mishap}", "over_s": None}
    if process.returncode or not usable:
        why = errors[-500:] or "it did not end, or left no model"
        return row | {"failure": why, "over_s": round(wall - run.budget, 2)}
    job = json.loads(out.splitlines()[-1])
    used = job["processor_seconds"] if run.of_devices else wall
    return row | {
        "failure": None,
        "over_s": round(used - run.budget, 2),
        "processor_s": round(job["processor_seconds"], 1),
        "networks": job["result"]["networks"],
        "out_of_fold": job["result"]["out_of_fold_score"],
    }


@contextlib.contextmanager
def _mishap(run: BudgetRun, process: "subprocess.Popen[str]") -> Iterator[list[Mishap]]:
    """Yield what has happened by the end of the block."""
    happened: list[Mishap] = []
    if run.mishap == "none":
        yield ["none"]
    elif run.mishap == "a worker killed":
        wait = run.budget * random.Random(run.seed).uniform(0.3, 0.8)

        def kill() -> None:
            if _kill_a_worker(process.pid, run.seed):
                happened.append(run.mishap)

        timer = threading.Timer(wait, kill)
        timer.start()
        try:
            yield happened
        finally:
            timer.cancel()
    else:
        usual = seconds_of_writes()
        with slow_disk():
            yield [run.mishap] if seconds_of_writes() > SLOWER * usual else []


def _kill_a_worker(pid: int, seed: int) -> bool:
    """Kill one of a search's workers; return whether there was one."""
    workers = [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if "workers.worker" in " ".join(child.cmdline())
    ]
    if workers:
        random.Random(seed).choice(workers).kill()
    return bool(workers)


@contextlib.contextmanager
def slow_disk() -> Iterator[None]:
    """Let the disk of temporary files write so many times a second over a block, as root."""
    device = os.stat(tempfile.gettempdir()).st_dev
    name = f"{os.major(device)}:{os.minor(device)}"
    THROTTLE.write_text(f"{name} {WRITES_A_SECOND}")
    try:
        yield
    finally:
        THROTTLE.write_text(f"{name} 0")


def seconds_of_writes() -> float:
    """Return how long it takes to write as often to the disk of temporary files as in a second."""
    with tempfile.TemporaryFile() as file:
        begin = time.monotonic()
        for _ in range(WRITES_A_SECOND):
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fsync(file.fileno())
        return time.monotonic() - begin


def can_slow_disks() -> bool:
    """Whether this machine lets us slow its disk."""
    return os.access(THROTTLE, os.W_OK)
