"""`Report`: what a job's report says, in figures and words; pictures are apart."""

from dataclasses import asdict, dataclass
from typing import Any

from search.baselines import Baseline
from search.effects import Interaction
from search.influence import Influence
from search.mistakes import Confusion, Mistake
from search.reliability import Bin
from spaces.architecture import Architecture
from workers.learning_curves import LearningCurve


@dataclass(frozen=True, slots=True)
class Score:
    """A score, and its 95 % interval over other rows of the same kind where it is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of the job that was stated, or that the budget has decided."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the data were parted and models judged.

    Attributes:
        label: what the metric's scores are called.
        sentences: why so, for people.
    """

    task: str
    metric: str
    label: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial on the leaderboard.

    Attributes:
        behind: by how much of the score it is behind the best trial on the same images; None for
            that itself or if unknown. As text, shares are in points.
        tied: with the best one: the interval of their difference holds zero.
        folds: mean score of its finished folds, and how many these are.
    """

    trial: int
    state: str
    score: Score
    behind: float | None
    behind_text: str
    tied: bool
    folds: tuple[float, int] | None
    parameters: int | None
    macs: int | None
    latency: float | None
    seconds: float
    network: str
    note: str


@dataclass(frozen=True, slots=True)
class Board:
    """The best trials, and what is to be thought of their order.

    Attributes:
        states: trials by how they ended.
        words: which are tied, and how lucky the best one is.
    """

    rows: tuple[TrialRow, ...]
    states: tuple[tuple[str, int], ...]
    baselines: tuple[Baseline, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a network; `shape` is what it gives for one image."""

    name: str
    what: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True, slots=True)
class Winner:
    """The trial that weighs most in the model, or the best one while there is no model."""

    trial: int
    network: str
    architecture: Architecture
    parts: tuple[Part, ...]
    parameters: int
    macs: int
    recipe: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A trial by score and cost; `role` is "front", "chosen" or "beaten"."""

    trial: int
    score: float
    cost: float
    role: str


@dataclass(frozen=True, slots=True)
class Front:
    """Finished trials by score and cost, where a cost was to be small.

    Attributes:
        raced: the points are those of a race, with the scores of its longer trainings.
    """

    cost: str
    tolerance: float
    raced: bool
    points: tuple[FrontPoint, ...]


@dataclass(frozen=True, slots=True)
class Importance:
    """Which hyperparameters mattered; `reason` says why it is not known.

    Attributes:
        target: the score that is explained.
        signals: how well cheap signals rank the trials (Spearman).
    """

    parameters: tuple[Influence, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    target: str = ""
    trials: int = 0
    signals: tuple[tuple[str, float | None], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GapRow:
    """A finalist's accuracy on what it learnt, on what it left out, and in the test."""

    trial: int
    training: float
    left_out: float
    test: float | None
    points: float
    word: str


@dataclass(frozen=True, slots=True)
class Member:
    """A finalist that was judged out of fold; without a weight, it is not in the model.

    Attributes:
        without: score of the ensemble without it, where that is another one.
    """

    trial: int
    weight: float
    networks: int
    score: Score
    without: float | None
    test: float | None
    parameters: int | None
    network: str


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What the model is made of, and what it scored before and in the test.

    Attributes:
        parameters: of all networks together.
    """

    final: str
    networks: int
    parameters: int
    members: tuple[Member, ...]
    score: Score
    rows: int
    expected: Score
    test: Score | None
    test_rows: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Out-of-fold predictions against the labels.

    Attributes:
        sure: of the wrong ones, given 0.9 or more for another class than theirs.
        counts: rows of each class (first axis) that are taken for each; none of many classes.
        recall: of each class.
    """

    rows: int
    wrong: int
    sure: int
    counts: tuple[tuple[int, ...], ...]
    recall: tuple[float, ...]
    pairs: tuple[Confusion, ...]
    worst: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True)
class NumberMistake:
    """A row whose number is predicted badly."""

    row: int
    target: float
    predicted: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether probabilities are right: bins at the temperature, and errors with and without it."""

    temperature: float
    bins: tuple[Bin, ...]
    error: float
    error_before: float
    rows: int


@dataclass(frozen=True, slots=True)
class Phase:
    """What a phase took: seconds by the clock, and of all processors together."""

    name: str
    seconds: float
    processor_seconds: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What the job took.

    Attributes:
        budget: seconds that were promised.
        search_planned: seconds until the search should end, its start included.
        joules: that the machine's processors took meanwhile, where they could be counted.
    """

    phases: tuple[Phase, ...]
    seconds: float
    processor_seconds: float
    budget: float | None
    device_budget: float | None
    search_planned: float | None
    joules: float | None


@dataclass(frozen=True, slots=True)
class Opening:
    """A look at the test set; `at` is in seconds since 1970."""

    job: str
    by: str
    reason: str
    at: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to try, and the figures that speak for it."""

    what: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Report:
    """A job's report.

    Attributes:
        headline: the outcome in a sentence or two.
        missing: what is not shown, and why.
    """

    job: str
    state: str
    data: str
    created_at: float
    headline: tuple[str, ...]
    asked: tuple[Setting, ...]
    protocol: Protocol
    board: Board
    winner: Winner | None
    curves: tuple[LearningCurve, ...]
    front: Front | None
    importance: Importance
    gaps: tuple[GapRow, ...]
    ensemble: Ensemble | None
    mistakes: Mistakes | None
    number_mistakes: tuple[NumberMistake, ...]
    calibration: Calibration | None
    costs: Costs
    openings: tuple[Opening, ...]
    advice: tuple[Advice, ...]
    missing: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return everything as plain lists, strings and numbers."""
        told = asdict(self)
        if self.winner is not None:
            told["winner"]["architecture"] = self.winner.architecture.to_json()
        return told
