"""A text that is made again when the store has changed, and otherwise kept."""

import time
from collections.abc import Callable
from threading import Lock

LOOK_SECONDS = 5.0  # after which it is made again even if nobody seems to have written


class Fresh:
    """What many ask for at once is made once.

    Args:
        make: that may fail; then there is nothing to keep.
        mark: of the store, another one after every write.
    """

    def __init__(self, make: Callable[[], str], *, mark: Callable[[], str]) -> None:
        self._make, self._read_mark = make, mark
        self._lock = Lock()
        self._text, self._mark, self._made = "", "", float("-inf")

    def text(self) -> str:
        """Return the text as of now."""
        with self._lock:
            mark, now = self._read_mark(), time.monotonic()
            if mark != self._mark or now - self._made >= LOOK_SECONDS:
                self._text = self._make()
                self._mark, self._made = mark, now
            return self._text
