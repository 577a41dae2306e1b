"""What simple models reach on the rows of the trials: a network must earn its cost."""

from dataclasses import dataclass
from typing import Literal, get_args

BaselineName = Literal["linear", "MLP", "SVM"]

BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
MOST_ROWS = 5000  # that a baseline is trained on: an SVM's time grows with their square
LEAST_BUDGET = 60.0  # seconds; in shorter searches the baselines' seconds are trials lost


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one simple model reached.

    Attributes:
        score: by the job's metric on the validation rows of the trials; None if it failed.
        rows: of the trials' training rows, on which it was trained.
        seconds: of training and predicting.
        note: how it failed.
    """

    name: BaselineName
    score: float | None
    rows: int
    seconds: float
    note: str = ""
