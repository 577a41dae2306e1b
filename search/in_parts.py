"""Work on parts of arrays side by side: NumPy lets other threads go on while it computes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from search.machine import usable_cores

Result = TypeVar("Result")


def in_parts(
    work: Callable[[slice], Result], count: int, *, size: int
) -> Iterator[tuple[int, Result]]:
    """Work on rows 0 to `count`, at most `size` at a time; yield where each part ends, in order.

    Args:
        work: on some of the rows, in a thread beside others.
    """
    parts = [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="parts") as pool:
        for part, result in zip(parts, pool.map(work, parts), strict=True):
            yield part.stop, result


def all_parts(work: Callable[[slice], Result], count: int, *, size: int) -> list[Result]:
    """Work on all parts; return their results in order."""
    return [result for _, result in in_parts(work, count, size=size)]
