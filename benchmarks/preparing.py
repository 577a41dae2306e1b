"""What `time_to_accuracy.py` needs before it may look at the clock.

Rows for the scripts, without test labels; the speed of both trainers on this host; AutoKeras in an
environment of its own, at stated versions. All of it lies below the cache directory.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import torch

from athanor.places import Places
from benchmarks.side_by_side import fashion_mnist
from workers.device import host_speed

DATA = "fashion-mnist"
QUICK_ROWS, QUICK_TEST = 3000, 1000  # training rows and test images of a quick check
AUTOKERAS = (
    "autokeras==3.0.0",
    "keras==3.12.0",
    "keras-tuner==1.4.8",
    "six==1.17.0",
    "tensorboard==2.21.0",  # the tuner imports it
    "tensorflow-cpu==2.21.0",
)


def _rivals() -> Path:
    return Places.of(None, None).cache.absolute() / "rivals"


def autokeras_python() -> Path:
    """Return the interpreter of AutoKeras's environment, which may not exist yet."""
    return _rivals() / "autokeras" / "bin" / "python"


def rows_file(*, quick: bool) -> Path:
    """Return the file of rows that the scripts are given, which may not exist yet."""
    return _rivals() / ("quick.npz" if quick else f"{DATA}.npz")


def missing(arm: str, *, quick: bool) -> str | None:
    """Say what `--prepare` must do before this arm can run; None if nothing."""
    if not rows_file(quick=quick).exists():
        return "its rows"
    if arm == "autokeras" and not _installed():
        return "its environment"
    return None


def prepare() -> list[str]:
    """Prepare everything; return what went wrong."""
    _rivals().mkdir(parents=True, exist_ok=True)
    _write_rows()
    _measure_speeds()
    return [] if _installed() else _install()


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
    """Measure each trainer once, with the thread that a worker has; both are remembered."""
    from benchmarks.their_trainer import their_speed

    torch.set_num_threads(1)
    cache = Places.of(None, None).cache
    for measure in (host_speed, their_speed):
        measure(cache=cache, progress=lambda text: print(text, file=sys.stderr))


def _installed() -> bool:
    record = _record()
    return record.exists() and record.read_text().split() == list(AUTOKERAS)


def _record() -> Path:
    return autokeras_python().parents[1] / "installed.txt"


def _install() -> list[str]:
    """Install AutoKeras; return why not, if it cannot be."""
    python = autokeras_python()
    print(f"installing AutoKeras below {_rivals()}", file=sys.stderr)
    venv.create(python.parents[1], with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", *AUTOKERAS]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return [f"AutoKeras cannot be installed: {' '.join(reasons) or done.stderr[-500:]}"]
    _record().write_text("\n".join(AUTOKERAS) + "\n")
    return []
