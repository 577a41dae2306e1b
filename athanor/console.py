"""The console that every command prints to."""

import sys

from rich.console import Console

LOG_WIDTH = 120  # columns where the output is not a terminal, so that tables stay whole


def make_console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, or of a fixed width in a pipe or file."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else LOG_WIDTH
    return Console(stderr=stderr, width=width)
