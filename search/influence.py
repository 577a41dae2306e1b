"""Which hyperparameters mattered in a study, how, and what told early how a trial would end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import (
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor

from search.attributes import curve_of
from search.changes import values
from search.store.records import TrialRecord
from spaces.errors import InputError

FEWEST_TRIALS = 8  # with a score; of fewer one would read tea leaves
TREES = 128
MOST_VALUES = 12  # of a whole-number parameter whose effect is shown


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
class Influence:
    """How much a hyperparameter mattered.

    Attributes:
        fanova: share of the score's variance that it explains by itself, over the whole space
            (functional ANOVA, Hutter et al., ICML 2014); shares of all sum to 1.
        ped_anova: how unlike the others the best tenth of the trials chose it (arXiv 2304.10255);
            shares of all sum to 1.
        effects: its values, in order, with what is to be expected of each.
    """

    name: str
    fanova: float
    ped_anova: float
    effects: tuple[Effect, ...]


class Model:
    """Extremely randomised trees (Geurts et al., 2006) over the trials that have a score.

    Of 150 trials with known effects they gave these back within a tenth, a random forest half of
    them.

    Raises:
        InputError: there are too few of them.
    """

    def __init__(self, study: Study, *, seed: int) -> None:
        self.trials = _complete(study)
        if len(self.trials) < FEWEST_TRIALS:
            raise InputError(
                f"influences need at least {FEWEST_TRIALS} trials with a score, "
                f"but there are {len(self.trials)}"
            )
        self.space = _varied(self.trials)
        self._forest = ExtraTreesRegressor(n_estimators=TREES, random_state=seed, n_jobs=1)
        rows = [self._encoded(trial.params) for trial in self.trials]
        self._forest.fit(np.array(rows), [trial.value for trial in self.trials])

    def effects(self, name: str) -> tuple[Effect, ...]:
        """Return what is to be expected of each value of a parameter."""
        levels = self.levels(name)
        counts = _counts(levels, [trial.params[name] for trial in self.trials])
        return tuple(
            Effect(value=level, score=self._expected({name: level}), trials=count)
            for level, count in zip(levels, counts, strict=True)
        )

    def interaction(self, first: str, second: str) -> NDArray[np.float64]:
        """Return what is to be expected of two parameters' values, (first's, second's)."""
        return np.array(
            [
                [self._expected({first: one, second: other}) for other in self.levels(second)]
                for one in self.levels(first)
            ]
        )

    def levels(self, name: str) -> list[Any]:
        """Return the values of a parameter whose effects are shown."""
        levels = values(self.space[name])
        if len(levels) <= MOST_VALUES or isinstance(self.space[name], CategoricalDistribution):
            return levels
        chosen = np.linspace(0, len(levels) - 1, MOST_VALUES).round().astype(int)
        return [levels[index] for index in chosen]

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


@dataclass(frozen=True, slots=True)
class Influences:
    """What mattered in a study.

    Attributes:
        parameters: that varied, the one that explains most first.
        target: the score that is explained: "final", or "first validation".
        trials: that have it.
    """

    parameters: tuple[Influence, ...]
    target: str
    trials: int


def influences(study: Study, *, seed: int = 0) -> Influences:
    """Explain the final scores; where trials were discarded, the scores at the first validation.

    Those that were not discarded are a choice of the good ones, from which one cannot tell what
    made the others bad.

    Raises:
        InputError: too few trials have such a score.
    """
    reported = [trial for trial in study.get_trials(deepcopy=False) if curve_of(trial)]
    discarded = any(trial.state == TrialState.PRUNED for trial in reported)
    if discarded:
        study = _scored(reported, [next(iter(curve_of(trial).values())) for trial in reported])
    elif len(study.directions) > 1:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        study = _scored(complete, [trial.values[0] for trial in complete])
    model = Model(study, seed=seed)
    return Influences(
        parameters=tuple(_explained(study, model, seed=seed)),
        target="first validation" if discarded else "final",
        trials=len(model.trials),
    )


def _explained(study: Study, model: Model, *, seed: int) -> list[Influence]:
    names = list(model.space)
    if not names:
        return []
    fanova = get_param_importances(
        study, evaluator=FanovaImportanceEvaluator(seed=seed), params=names
    )
    ped_anova = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=names)
    found = [Influence(name, fanova[name], ped_anova[name], model.effects(name)) for name in names]
    return sorted(found, key=lambda each: (-each.fanova, each.name))


def signals(records: Sequence[TrialRecord]) -> dict[str, float | None]:
    """Return how well cheap signals rank the trials as their scores do, as Spearman's rho.

    None where a signal does not vary, or fewer than three trials have it.
    """
    ended = [record for record in records if record.state == "complete"]
    pairs: dict[str, list[tuple[float, float]]] = {"parameters": [], "macs": [], "early score": []}
    for record in ended:
        assert record.score is not None
        early = record.curve[min(record.curve)] if len(record.curve) > 1 else None
        signal = {"parameters": record.parameters, "macs": record.macs, "early score": early}
        for name, value in signal.items():
            if value is not None:
                pairs[name].append((float(value), record.score))
    return {name: _correlation(found) for name, found in pairs.items()}


def _correlation(pairs: list[tuple[float, float]]) -> float | None:
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def _scored(trials: Sequence[FrozenTrial], scores: Sequence[float]) -> Study:
    """Return a study in memory of these trials, as if they had ended with these scores."""
    study = optuna.create_study(direction="maximize")
    for trial, score in zip(trials, scores, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions, value=score
            )
        )
    return study


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
