"""What `time_to_accuracy.py` needs before it may look at the clock.

Rows for the scripts, without test labels; the speed of both trainers on this host; AutoKeras in an
environment of its own, at stated versions. All of it lies below the cache directory.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from athanor.places import Places
from benchmarks.environments import AUTOKERAS, rivals
from benchmarks.side_by_side import fashion_mnist, side_by_side
from workers.host_speed import host_speed

DATA = "fashion-mnist"
QUICK_ROWS, QUICK_TEST = 3000, 1000  # training rows and test images of a quick check


def rows_file(*, quick: bool) -> Path:
    """Return the file of rows that the scripts are given, which may not exist yet."""
    return rivals() / ("quick.npz" if quick else f"{DATA}.npz")


def missing(arm: str, *, quick: bool) -> str | None:
    """Say what `--prepare` must do before this arm can run; None if nothing."""
    if not rows_file(quick=quick).exists():
        return "its rows"
    if arm == "autokeras" and not AUTOKERAS.installed:
        return "its environment"
    return None


def prepare() -> list[str]:
    """Prepare everything; return what went wrong."""
    rivals().mkdir(parents=True, exist_ok=True)
    _write_rows()
    _measure_speeds()
    return AUTOKERAS.install()


def _write_rows() -> None:
    data = fashion_mnist()
    rows = ((False, len(data.train_images), len(data.test_images)), (True, QUICK_ROWS, QUICK_TEST))
    for quick, train, test in rows:
        partial = rows_file(quick=quick).with_suffix(".partial.npz")
        np.savez(
            partial,
            train_images=data.train_images[:train],
            train_labels=data.train_labels[:train],
            test_images=data.test_images[:test],
        )
        os.replace(partial, rows_file(quick=quick))


def _measure_speeds() -> None:
    """Measure each trainer once, in a process like a worker's; both are remembered."""
    from benchmarks.their_trainer import their_speed

    for _ in side_by_side(_measure_speed, (host_speed, their_speed), processes=1):
        pass


def _measure_speed(measure: Callable[..., Any]) -> None:
    measure(cache=Places.of(None, None).cache, progress=lambda text: print(text, file=sys.stderr))
