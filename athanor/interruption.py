"""Ctrl-C and SIGTERM while workers run: heard once, acted on at a safe moment, never lost."""

import signal
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LOOK_SECONDS = 0.1  # a sleep goes on after a signal's handler has run


class Interruption:
    """Turns the first signal into a flag that a loop reads, and the second into an exception.

    An exception out of a signal handler may come up inside a finalizer or a callback, where Python
    prints it and drops it: the signal would be lost. A flag cannot be.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self._asked:
            raise KeyboardInterrupt

    def wait(self, seconds: float) -> bool:
        """Wait; return, at once, whether a signal came."""
        end = time.monotonic() + seconds
        while not self._asked and time.monotonic() < end:
            time.sleep(min(LOOK_SECONDS, max(0.0, end - time.monotonic())))
        return self._asked

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
