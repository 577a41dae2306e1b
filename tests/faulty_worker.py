"""A worker that meets a fault in chosen trials: `faulty_worker.py FAULT=TRIAL,… OPTIONS`."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from workers import heartbeat, trial
from workers.worker import main


def die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    while True:
        time.sleep(0.05)


FAULTS: dict[str, Callable[[], None]] = {"segfault": die, "hang": hang}


def make_faulty(faults: dict[int, Callable[[], None]]) -> None:
    """Let the chosen trials meet their fault in each epoch after the first."""
    go_on = trial._TrialRun._interrupt

    def interrupt(self: Any) -> None:
        if self._trial.number in faults and self._reported():
            faults[self._trial.number]()
        go_on(self)

    trial._TrialRun._interrupt = interrupt  # type: ignore[method-assign]
    heartbeat.LEAST_SECONDS = 2.0


if __name__ == "__main__":
    chosen = dict(pair.split("=") for pair in sys.argv[1].split(","))
    make_faulty({int(number): FAULTS[name] for name, number in chosen.items()})
    sys.exit(main(sys.argv[2:]))
