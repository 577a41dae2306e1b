"""Live progress of a job: one small panel on a terminal, one line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from athanor.doings import climb, doing_text, spread
from athanor.outlook import Outlook
from athanor.progress import Progress
from search.metrics import score_text
from search.store import WorkerRecord

LINE_SECONDS = 10.0  # between two lines where there is no terminal
WORKERS_NAMED = 4  # one by one; more are counted by what they do
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_WIDTH = 32  # columns
LABEL_WIDTH = 7  # columns, of the longest word on the left


class ProgressView:
    """Shows progress as it changes; silent if asked to be."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console, self._quiet = console, quiet
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._said: tuple[str, float] = ("", float("-inf"))
        self._width = console.width

    def __enter__(self) -> "ProgressView":
        if self._console.is_terminal and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live.is_started:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the panel; even if asked to be silent, but then as an error."""
        if self._quiet:
            print(text, file=sys.stderr, flush=True)
        else:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, progress: Progress, workers: Sequence[WorkerRecord]) -> None:
        """Show the job as it is now, and who works on it."""
        if self._quiet:
            return
        if self._live.is_started:
            if self._console.width < self._width:  # what stood there is folded and in the way
                self._console.clear()
            self._width = self._console.width
            self._live.update(panel(progress, workers, console=self._console))
            return
        state, when = self._said
        now = time.monotonic()
        if progress.job.state != state or now - when >= LINE_SECONDS:
            self._said = (progress.job.state, now)
            self.say(line(progress, workers))


def line(progress: Progress, workers: Sequence[WorkerRecord]) -> str:
    """Say everything on one line."""
    count = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
    parts = [progress.line(), "" if progress.job.ended else count, Outlook.of(progress).text()]
    return " · ".join(part for part in parts if part)


def panel(progress: Progress, workers: Sequence[WorkerRecord], *, console: Console) -> Group:
    """Draw the panel of a live terminal, each row on a line of its own, however narrow that is."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True, min_width=LABEL_WIDTH)
    rows.add_column(no_wrap=True, overflow="ellipsis")
    rows.add_row("phase", Text(progress.phase()))
    budget = progress.job.spec.budget
    rows.add_row("time" if budget is None else "budget", Text(progress.budget_line()))
    if budget is not None:
        used = min(progress.job.seconds_used, budget)
        rows.add_row("", ProgressBar(total=budget, completed=used, width=40))
    rows.add_row("trials", Text(progress.states()))
    if progress.folds:
        rows.add_row("folds", Text(progress.folds_line()))
    rows.add_row("best", Text(progress.best_line() or "nothing yet"))
    curve = curve_line(climb(progress.trials))
    if curve and console.encoding.lower().startswith("utf"):
        rows.add_row("", Text(curve))
    rows.add_row("workers", Text(workers_line(workers)))
    to_come = Outlook.of(progress).text()
    if to_come:
        rows.add_row("to come", Text(to_come))
    title = Text(f"athanor · {progress.job.id}", style="bold", no_wrap=True, overflow="ellipsis")
    return Group(title, rows)


def workers_line(workers: Sequence[WorkerRecord]) -> str:
    """Say what the workers do: of a few each one, of many how many do what."""
    if not workers:
        return "none"
    if len(workers) <= WORKERS_NAMED:
        return f"{len(workers)}: {'; '.join(doing_text(worker) for worker in workers)}"
    kinds = Counter(_kind(worker) for worker in workers)
    return f"{len(workers)}: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}"


def _kind(worker: WorkerRecord) -> str:
    key = (worker.doing or "").partition("/")[2]
    for kind, words in (("trial/", "at trials"), ("fold/", "at folds")):
        if key.startswith(kind):
            return words
    return doing_text(worker)


def curve_line(values: Sequence[float]) -> str:
    """Draw how the best score has grown, with both ends; "" if there is nothing to see."""
    if len(values) < 2 or values[0] == values[-1]:
        return ""
    low, high = values[0], values[-1]
    shares = [(value - low) / (high - low) for value in spread(values, CURVE_WIDTH)]
    drawn = "".join(BLOCKS[int(share * (len(BLOCKS) - 1))] for share in shares)
    return f"{score_text(low)} {drawn} {score_text(high)}"
