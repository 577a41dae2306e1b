"""`TrialRecord`: a trial as people see it, and the order in which they see trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from search.attributes import (
    CANDIDATE,
    COSTS,
    DRAWS,
    ENDED,
    ERROR,
    FILES,
    NOTE,
    PACE,
    RIGHT,
    SECONDS,
    Cost,
    curve_of,
)
from search.draws import Draws
from search.marks import Marks
from search.pairing import Judged
from search.pareto import layers
from spaces.recipe import Candidate


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A trial as people see it.

    Attributes:
        score: by the job's metric on the validation rows, at the trial's end, or the best before.
        error: the score's standard error, once the trial has trained to its end.
        curve: scores by epoch, from 1.
        latency: measured seconds to predict a batch, where that is limited or to be small.
        train_pace, predict_pace: measured seconds for one image.
        right: which validation images it has right, as `search.marks` writes them.
        draws: where no accuracy counts, its scores on rows drawn again, as `search.draws` does.
    """

    number: int
    state: str
    score: float | None
    error: float | None
    curve: dict[int, float]
    candidate: Candidate | None
    parameters: int | None
    macs: int | None
    latency: float | None
    seconds: float
    train_pace: float | None
    predict_pace: float | None
    right: str | None
    draws: list[float | None] | None
    note: str
    files: str | None

    @classmethod
    def from_frozen(cls, trial: FrozenTrial) -> "TrialRecord":
        """Read what Athanor wrote into a trial's attributes."""
        attributes = trial.user_attrs
        candidate = attributes.get(CANDIDATE)
        costs = attributes.get(COSTS, {})
        curve = curve_of(trial)
        # a trial is cooled down at its rung: an epoch at a high rate after it may score less
        best = max(curve.values(), default=None)
        open_states = {TrialState.RUNNING: "running", TrialState.WAITING: "waiting"}
        return cls(
            number=trial.number,
            # a worker that died while it told the end has left its words but not ended the trial
            state=open_states.get(trial.state) or attributes.get(ENDED, "failed"),
            score=trial.values[0] if trial.state == TrialState.COMPLETE else best,
            error=attributes.get(ERROR),
            curve=curve,
            candidate=None if candidate is None else Candidate.from_json(candidate),
            parameters=costs.get("parameters"),
            macs=costs.get("macs"),
            latency=costs.get("latency"),
            seconds=float(attributes.get(SECONDS, 0.0)),
            train_pace=attributes.get(PACE, {}).get("train"),
            predict_pace=attributes.get(PACE, {}).get("predict"),
            right=attributes.get(RIGHT),
            draws=attributes.get(DRAWS),
            note=attributes.get(NOTE, ""),
            files=attributes.get(FILES),
        )

    @property
    def marks(self) -> Marks | None:
        """Which validation images it has right, if that is known."""
        return None if self.right is None else Marks.read(self.right)

    def judged(self, *, by_accuracy: bool) -> Judged | None:
        """Return that by which it is compared with others, if it is known."""
        if by_accuracy:
            return self.marks
        if self.draws is None or self.score is None:
            return None
        return Draws.read(self.score, self.draws)

    @property
    def open(self) -> bool:
        """Whether the trial has not ended."""
        return self.state in ("running", "waiting")

    @property
    def finished(self) -> bool:
        """Whether the trial trained to its end, so that it can be a finalist."""
        return self.state in ("complete", "copied")

    def cost(self, name: Cost) -> float | None:
        """Return what the network costs, in numbers, operations or seconds."""
        return {"parameters": self.parameters, "macs": self.macs, "latency": self.latency}[name]


def ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return trials that have a score, the best first; finished ones before stopped ones.

    Equal scores go to the earlier trial, as in Optuna's own `best_trial`.
    """
    return sorted((record for record in records if record.score is not None), key=_rank)


def _rank(record: TrialRecord) -> tuple[bool, float, int]:
    assert record.score is not None
    return (not record.finished, -record.score, record.number)


def pareto_front(
    records: Sequence[TrialRecord], cost: Cost, *, raced: Mapping[int, float] | None = None
) -> list[TrialRecord]:
    """Return the finished trials that no other one equals or beats in score and cost at once.

    The cheapest comes first, the best last.

    Args:
        raced: scores of a longer training, by trial; then of these trials alone, and by these.
    """
    known: list[tuple[float, float, TrialRecord]] = []
    for record in ranked(records):
        price = record.cost(cost)
        score = record.score if not raced else raced.get(record.number)
        if record.finished and score is not None and price is not None:
            known.append((score, price, record))
    places = layers([(score, price) for score, price, _ in known])
    front = [entry for entry, place in zip(known, places, strict=True) if place == 0]
    return [record for _, _, record in sorted(front, key=lambda entry: entry[:2])]
