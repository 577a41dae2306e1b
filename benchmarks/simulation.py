"""Searches over a table of trainings, by a simulated clock that counts training seconds alone."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from ray.tune.schedulers.async_hyperband import _Bracket
from ray.tune.schedulers.trial_scheduler import TrialScheduler

from benchmarks.factorial import AXES, EPOCHS, JUDGES, ORDERED, PRIOR, RUNG, Cell, Record
from search.attributes import RUNG as RUNG_KEY
from search.pruning import EarlyDiscardPruner
from search.sampling import Strategy, make_sampler
from search.score_errors import binomial_error

KEEP = 3
MAX_TRIALS = 3000  # where all that is proposed has been trained already


class Asha(BasePruner):
    """Ray's own rule for its `ASHAScheduler`, as Ray configures it by default but for the grace."""

    def __init__(self) -> None:
        self._bracket = _Bracket(1, EPOCHS, 4, 0)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Say whether the trial stops at its last report."""
        last = trial.last_step
        assert last is not None

        named: Any = SimpleNamespace(trial_id=str(trial.number))  # all that the rule looks at
        action = self._bracket.on_result(named, last, trial.intermediate_values[last])
        return bool(action == TrialScheduler.STOP)


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to search.

    Attributes:
        discards: judged once, at the rung, by the score of its branch; else each epoch as it is.
        copies: a cell that was trained to its end is not trained again.
        prior: begins with our prior.
    """

    sampler: Callable[[int], BaseSampler]
    pruner: Callable[[], BasePruner]
    discards: bool = False
    copies: bool = False
    prior: bool = False


def ours(strategy: Strategy) -> Callable[[int], BaseSampler]:
    """Return what makes a sampler of ours."""
    return lambda seed: make_sampler(strategy, seed=seed)


def discard() -> BasePruner:
    """Return our pruner."""
    return EarlyDiscardPruner(keep=KEEP)


CONTENDERS: dict[str, Contender] = {
    "auto": Contender(ours("auto"), discard, discards=True, copies=True, prior=True),
    "random": Contender(lambda seed: RandomSampler(seed=seed), NopPruner),
    "Ray: random, ASHA": Contender(lambda seed: RandomSampler(seed=seed), Asha),
    "Optuna: TPE, Hyperband": Contender(
        lambda seed: TPESampler(seed=seed),
        lambda: HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3),
    ),
    "Optuna: TPE, median": Contender(lambda seed: TPESampler(seed=seed), MedianPruner),
    "evolution": Contender(ours("evolution"), NopPruner),
}
SAMPLERS_ALONE: dict[str, Contender] = {
    "auto, no discard": Contender(ours("auto"), NopPruner, copies=True, prior=True),
    "auto, no discard, no prior": Contender(ours("auto"), NopPruner, copies=True),
    "auto, no prior": Contender(ours("auto"), discard, discards=True, copies=True),
    "random, discard": Contender(ours("random"), discard, discards=True, copies=True),
    **{
        f"{strategy}, no discard, no prior": Contender(ours(strategy), NopPruner)
        for strategy in ("mutation", "random", "local", "greedy", "tpe", "gp")
    },
}


@dataclass(slots=True)
class Outcome:
    """How a simulated search went.

    Attributes:
        trace: (seconds, score) of each trial that became the best so far, when it ended.
        batch: different cells among the first trials that ran at once, as a share.
    """

    trace: list[tuple[float, float]] = field(default_factory=list)
    batch: float = 1.0

    def note(self, now: float, best: float) -> None:
        """Keep the moment at which a score became the best."""
        if best > (self.trace[-1][1] if self.trace else 0.0):
            self.trace.append((now, best))

    def best_at(self, seconds: float) -> float:
        """Return the best score so far; 0 before the first trial has ended."""
        return max((score for when, score in self.trace if when <= seconds), default=0.0)

    def seconds_to(self, score: float) -> float:
        """Return when a score was reached first; infinite if never."""
        return min((when for when, reached in self.trace if reached >= score), default=math.inf)


def simulate(
    contender: Contender,
    table: Mapping[Cell, Record],
    *,
    seed: int,
    seconds: float,
    workers: int = 1,
) -> Outcome:
    """Search for so many seconds of the clock with workers that train side by side."""
    study = optuna.create_study(
        study_name=f"seed {seed}",  # by which Hyperband chooses a trial's bracket
        direction="maximize",
        sampler=contender.sampler(seed),
        pruner=contender.pruner(),
    )
    if contender.prior:
        study.enqueue_trial(places(PRIOR))
    outcome, known = Outcome(), dict[Cell, float]()
    events: list[tuple[float, int, Iterator[float]]] = []  # when each worker's part ends
    order, first, asked = itertools.count(), list[Cell](), 0

    def begin() -> Iterator[float]:
        nonlocal asked
        trial, asked = study.ask(), asked + 1
        cell = suggested(trial)
        if len(first) < workers:
            first.append(cell)
        return _train(contender, study, trial, table[cell], known)

    for _ in range(workers):
        heapq.heappush(events, (0.0, next(order), begin()))
    outcome.batch = len(set(first)) / workers
    while events:
        now, _, steps = heapq.heappop(events)
        took = next(steps, None)
        outcome.note(now, max(known.values(), default=0.0))
        if took is None and asked < MAX_TRIALS:
            steps, took = begin(), 0.0
        if took is not None and now + took <= seconds:
            heapq.heappush(events, (now + took, next(order), steps))
    return outcome


def _train(
    contender: Contender,
    study: Study,
    trial: Trial,
    record: Record,
    known: dict[Cell, float],
) -> Iterator[float]:
    """Run a trial: yield the seconds that each part takes, and report when it has passed."""
    if contender.copies and record.cell in known:
        study.tell(trial, known[record.cell])
        return
    before = 0.0
    for epoch in range(1, EPOCHS + 1):
        yield record.seconds[epoch - 1] - before
        before = record.seconds[epoch - 1]
        if contender.discards and epoch == RUNG:
            yield record.branch
        if not contender.discards or epoch in (RUNG, EPOCHS):
            cooled = contender.discards and epoch == RUNG
            if cooled:
                error = binomial_error(record.rung, rows=JUDGES)
                trial.set_user_attr(RUNG_KEY, {"epoch": RUNG, "error": error})
            trial.report(record.rung if cooled else record.scores[epoch - 1], epoch)
            if epoch < EPOCHS and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                return
    known[record.cell] = record.final
    study.tell(trial, record.final)


def suggested(trial: Trial) -> Cell:
    """Let a trial choose a cell; ordered axes are whole numbers."""
    return tuple(
        trial.suggest_int(axis, 0, len(values) - 1)
        if axis in ORDERED
        else values.index(trial.suggest_categorical(axis, values))
        for axis, values in AXES.items()
    )


def places(values: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters that choose the cell with these values."""
    return {
        axis: choices.index(values[axis]) if axis in ORDERED else values[axis]
        for axis, choices in AXES.items()
    }
