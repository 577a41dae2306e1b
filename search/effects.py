"""What to expect of hyperparameters' values, alone and two together, by a model of the trials."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.changes import values
from spaces.errors import InputError

FEWEST_TRIALS = 8  # with a score; of fewer one would read tea leaves
TREES = 128
MOST_VALUES = 12  # of a whole-number parameter whose effect is shown
MOST_TOGETHER = 6  # of each of two parameters that are shown together

Scale = Literal["choice", "linear", "log"]


@dataclass(frozen=True, slots=True)
class Effect:
    """The score to be expected with a value, averaged over what the trials otherwise were.

    Attributes:
        trials: that had this value; of a number, that were nearer to it than to the next ones.
    """

    value: Any
    score: float
    trials: int


@dataclass(frozen=True, slots=True)
class Interaction:
    """What is to be expected of two parameters together.

    Attributes:
        share: of the scores' variance that the two explain together and neither does alone.
        values: those of the first parameter, and those of the second.
        scores: for each value of the first, for each of the second.
    """

    names: tuple[str, str]
    share: float
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    scores: tuple[tuple[float, ...], ...]

    @property
    def best(self) -> tuple[Any, Any, float]:
        """The pair of values of which most is to be expected, and what."""
        cells = itertools.product(range(len(self.values[0])), range(len(self.values[1])))
        one, other = max(cells, key=lambda cell: self.scores[cell[0]][cell[1]])
        return self.values[0][one], self.values[1][other], self.scores[one][other]


class Model:
    """Extremely randomised trees (Geurts et al., 2006) over the trials that have a score.

    Of 150 trials with known effects they gave these back within a tenth, a random forest half of
    them.

    Raises:
        InputError: there are too few of them, or their parameters or scores are all equal.
    """

    def __init__(self, study: Study, *, seed: int) -> None:
        self.trials = _complete(study)
        if len(self.trials) < FEWEST_TRIALS:
            raise InputError(
                f"influences need at least {FEWEST_TRIALS} trials with a score, "
                f"but there are {len(self.trials)}"
            )
        self.space = _varied(self.trials)
        if not self.space:
            raise InputError(
                f"influences need parameters that vary, but {len(self.trials)} trials are equal"
            )
        from sklearn.ensemble import ExtraTreesRegressor  # it takes a second to load

        self._forest = ExtraTreesRegressor(n_estimators=TREES, random_state=seed, n_jobs=1)
        rows = [self._encoded(trial.params) for trial in self.trials]
        scores = np.array([trial.values[0] for trial in self.trials])
        if not np.ptp(scores):
            raise InputError(
                f"influences need scores that differ, but {len(scores)} trials have {scores[0]:g}"
            )
        self._variance = float(scores.var())
        self._forest.fit(np.array(rows), scores)

    def effects(self, name: str) -> tuple[Effect, ...]:
        """Return what is to be expected of each value of a parameter."""
        levels = self.levels(name)
        counts = _counts(levels, [trial.params[name] for trial in self.trials])
        return tuple(
            Effect(value=level, score=self._expected({name: level}), trials=count)
            for level, count in zip(levels, counts, strict=True)
        )

    def interaction(self, first: str, second: str) -> Interaction:
        """Return what is to be expected of the values of two parameters together."""
        levels = [_thinned(self.levels(name), MOST_TOGETHER) for name in (first, second)]
        pairs = list(itertools.product(*levels))
        rows = [
            self._encoded({**trial.params, first: one, second: other})
            for one, other in pairs
            for trial in self.trials
        ]
        scores = self._forest.predict(np.array(rows)).reshape(len(pairs), -1).mean(1)
        grid = scores.reshape(len(levels[0]), len(levels[1]))
        alone = grid.mean(1, keepdims=True) + grid.mean(0, keepdims=True) - grid.mean()
        return Interaction(
            names=(first, second),
            share=float(np.var(grid - alone)) / self._variance,
            values=(tuple(levels[0]), tuple(levels[1])),
            scores=tuple(tuple(map(float, row)) for row in grid),
        )

    def levels(self, name: str) -> list[Any]:
        """Return the values of a parameter whose effects are shown."""
        levels = values(self.space[name])
        if isinstance(self.space[name], CategoricalDistribution):
            return levels
        return _thinned(levels, MOST_VALUES)

    def scale(self, name: str) -> Scale:
        """Return the scale of a parameter's values: none where they are choices."""
        distribution = self.space[name]
        if isinstance(distribution, CategoricalDistribution):
            return "choice"
        return "log" if getattr(distribution, "log", False) else "linear"

    def _expected(self, changes: dict[str, Any]) -> float:
        rows = [self._encoded({**trial.params, **changes}) for trial in self.trials]
        return float(self._forest.predict(np.array(rows)).mean())

    def _encoded(self, parameters: dict[str, Any]) -> list[float]:
        """Return numbers in their scale, and for each choice whether it was taken."""
        row: list[float] = []
        for name, distribution in self.space.items():
            value = parameters[name]
            if isinstance(distribution, CategoricalDistribution):
                row += [float(value == choice) for choice in distribution.choices]
            else:
                log = isinstance(distribution, FloatDistribution) and distribution.log
                row.append(math.log(value) if log else float(value))
        return row


def _thinned(levels: list[Any], most: int) -> list[Any]:
    """Return at most so many of the levels, evenly spread."""
    if len(levels) <= most:
        return levels
    chosen = np.linspace(0, len(levels) - 1, most).round().astype(int)
    return [levels[index] for index in chosen]


def _complete(study: Study) -> list[FrozenTrial]:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    most = max((len(trial.params) for trial in complete), default=0)
    return [trial for trial in complete if len(trial.params) == most]


def _varied(trials: list[FrozenTrial]) -> dict[str, BaseDistribution]:
    found = trials[0].distributions
    return {
        name: found[name]
        for name in sorted(found)
        if len({str(trial.params[name]) for trial in trials}) > 1
    }


def _counts(levels: list[Any], chosen: list[Any]) -> list[int]:
    if all(isinstance(level, (int, float)) for level in levels) and levels == sorted(levels):
        nearest = [min(levels, key=lambda level: abs(level - value)) for value in chosen]
        return [nearest.count(level) for level in levels]
    return [chosen.count(level) for level in levels]
