"""`Comparison`: jobs side by side, in figures and words."""

from dataclasses import asdict, dataclass
from typing import Any

from athanor.report.values import Score


@dataclass(frozen=True, slots=True)
class Side:
    """One of the jobs.

    Attributes:
        best: the best trial's score, on the search's own validation rows.
        out_of_fold: of the model, on `rows` training rows; None while there is no model.
        test: as it was recorded; None: the job has not opened the test set.
        parameters: of all networks of the model together.
    """

    job: str
    state: str
    metric: str
    budget: float | None
    seconds: float
    processor_seconds: float
    joules: float | None
    trials: int
    best_trial: int | None
    best: Score | None
    out_of_fold: Score | None
    rows: int
    expected: Score | None
    test: Score | None
    test_rows: int
    networks: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Setting:
    """A key that the jobs do not agree on, with the value of each, in their order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paired:
    """Two jobs judged on the same rows.

    Attributes:
        on: which rows these are.
        difference: the first one's score less the second one's, with its 95 % interval.
        tied: the interval holds zero.
    """

    first: str
    second: str
    on: str
    rows: int
    scores: tuple[float, float]
    difference: Score
    tied: bool

    @property
    def words(self) -> str:
        """What that says."""
        better, worse = (
            (self.first, self.second) if self.difference.value > 0.0 else (self.second, self.first)
        )
        return f"{self.first} and {self.second} are tied" if self.tied else f"{better} > {worse}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Jobs side by side.

    Attributes:
        settings: those that differ.
        pairs: of jobs that can be compared on the same rows.
        apart: why others cannot be, and what else is to be minded.
    """

    sides: tuple[Side, ...]
    settings: tuple[Setting, ...]
    pairs: tuple[Paired, ...]
    apart: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return everything as plain lists, strings and numbers."""
        return asdict(self)
