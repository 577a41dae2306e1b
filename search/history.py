"""`HistorySampler`: chooses all parameters at once, from the trials so far and nothing else."""

import math
import random
from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.changes import changed
from search.pareto import layers

Distributions = dict[str, BaseDistribution]


class History:
    """The trials besides the one that is sampled, as far as they have its parameters.

    Attributes:
        trials: by number, running and discarded ones included.
        ended_well: those with a value, the best first; of equal ones the older. With two
            objectives front by front, and on each the best in the first objective first.
        objectives: of the study.
        sign: 1 where more of the first objective is better, else -1.
        front: how many of them are not beaten: those of the first front, or equal to the best.
    """

    def __init__(self, study: Study, trial: FrozenTrial, names: Collection[str]) -> None:
        self.trials = [
            other for other in _others(study, trial) if all(name in other.params for name in names)
        ]
        complete = [other for other in self.trials if other.state == TrialState.COMPLETE]
        self.objectives = len(study.directions)
        self.sign = 1.0 if study.directions[0] == StudyDirection.MAXIMIZE else -1.0
        self._ranks = _ranks(study, complete)
        self.ended_well = sorted(complete, key=lambda each: self._ranks[each.number])
        self.front = sum(rank[0] == 0 for rank in self._ranks.values())

    def closest(self) -> FrozenTrial:
        """Return the trial that is least far beyond the limits, as far as that is known.

        The oldest of several, or of all if nothing is known yet.
        """
        return min(self.trials, key=_excess)

    def incumbents(self) -> list[FrozenTrial]:
        """Return the trials each of which was the best of all up to it, the last one the best."""
        found: list[FrozenTrial] = []
        for trial in sorted(self.ended_well, key=lambda each: each.number):
            if not found or self._ranks[trial.number] < self._ranks[found[-1].number]:
                found.append(trial)
        return found


def _excess(trial: FrozenTrial) -> float:
    return max(0.0, *trial.constraints.values()) if trial.constraints else math.inf


def _ranks(study: Study, complete: list[FrozenTrial]) -> dict[int, tuple[int, float, int]]:
    """Return by number what sorts trials: on which front, how good they are, how old."""
    signs = [1.0 if one == StudyDirection.MAXIMIZE else -1.0 for one in study.directions]
    goods = [[s * v for s, v in zip(signs, each.values, strict=True)] for each in complete]
    if len(signs) == 1:
        best = max(goods, default=None)
        places = [int(good != best) for good in goods]
    else:
        places = layers([(good[0], -good[1]) for good in goods])
    return {
        trial.number: (place, -good[0], trial.number)
        for trial, place, good in zip(complete, places, goods, strict=True)
    }


class HistorySampler(BaseSampler):
    """Base of samplers without a memory of their own: a restarted worker draws what the old one
    would have.

    Args:
        seed: equal histories and seeds give equal draws.
    """

    def __init__(self, *, seed: int) -> None:
        self.generator = random.Random(seed)
        self._independent = RandomSampler(seed=seed)

    @abstractmethod
    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return a value for each parameter of the space; nothing to sample at random.

        Args:
            history: has at least one trial with all these parameters.
        """

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Return the parameters that earlier trials had, but for constants and queued ones."""
        earlier = [other.distributions for other in _others(study, trial)]
        found = max(earlier, key=len, default={})  # one may be sampled at this moment
        fixed = trial.system_attrs.get("fixed_params", {})
        return {
            name: found[name]
            for name in sorted(found)
            if name not in fixed and not found[name].single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Distributions
    ) -> dict[str, Any]:
        """Return what is proposed, as long as there is something to propose from."""
        history = History(study, trial, search_space) if search_space else None
        return self.propose(history, search_space) if history and history.trials else {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample at random what was not proposed."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """Return the trials besides this one that have been sampled, at least in part."""
    every = study.get_trials(deepcopy=False)
    return [other for other in every if other.number != trial.number and other.params]


def chosen(trial: FrozenTrial, space: Distributions) -> dict[str, Any]:
    """Return a trial's values of these parameters."""
    return {name: trial.params[name] for name in space}


def with_changes(
    parent: FrozenTrial, space: Distributions, *, count: int, generator: random.Random
) -> dict[str, Any]:
    """Return a parent's values, `count` of them changed at random."""
    drawn = chosen(parent, space)
    for name in generator.sample(sorted(drawn), min(count, len(drawn))):
        drawn[name] = changed(drawn[name], space[name], generator)
    return drawn


def signature(drawn: dict[str, Any], space: Distributions) -> tuple[Any, ...]:
    """Return what is equal for equal values of these parameters."""
    return tuple(drawn[name] for name in space)


def tried(trials: Sequence[FrozenTrial], space: Distributions) -> set[tuple[Any, ...]]:
    """Return the signatures of all trials."""
    return {signature(trial.params, space) for trial in trials}
