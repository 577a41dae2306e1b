"""A process that has imported everything, from which all others are forked within milliseconds.

It imports beside whoever started it, so this file itself imports next to nothing.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    "benchmarks.mishaps.staff",
    "sklearn.datasets",
    "torch._inductor",  # what an optimizer imports when it is made takes two seconds
    "workers.preparation",
]

context = multiprocessing.get_context("forkserver")


def fork(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that ends with this one."""
    process = context.Process(target=_run, args=(target, *arguments), daemon=True)
    process.start()
    return process


def _run(target: Callable[..., None], *arguments: Any) -> None:
    gc.freeze()  # or each collection goes through all that was imported, and copies its pages
    target(*arguments)


def start_server() -> None:
    """Begin to import, so that processes start at once later."""
    root = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    os.environ.update(OMP_NUM_THREADS="1", RAY_USAGE_STATS_ENABLED="0")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
