"""Independent measurements side by side: one process a core, each with one thread."""

import concurrent.futures
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from typing import TypeVar

import torch

from athanor.places import Places
from workers.data import ImageData, load_data
from workers.environment import thread_environment

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def side_by_side(
    measure: Callable[[Task], Answer], tasks: Sequence[Task], *, processes: int | None = None
) -> Iterator[tuple[Task, Answer]]:
    """Yield each task and its answer, as they come; an interruption drops what is not begun.

    Args:
        measure: a function of a module, called in another process.
        processes: one a core by default.
    """
    count = min(processes or len(os.sched_getaffinity(0)), max(1, len(tasks)))
    with environment(thread_environment(1)):
        pool = concurrent.futures.ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        )
        # processes are started with the first tasks, so under this environment
        futures = {pool.submit(measure, task): task for task in tasks}
    try:
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def fashion_mnist() -> ImageData:
    """Load Fashion-MNIST, once a process."""
    return load_data("fashion-mnist", cache=Places.of(None, None).cache)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Change the environment over a block, for the processes that are started in it."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
