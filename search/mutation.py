"""`MutationSampler`: changes a few parameters of one of the best trials so far."""

import math
import random
from collections.abc import Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

PARENTS = 4  # of the best trials, any of which may be changed: scores are noisy
CHANGES = (2, 3, 4)  # parameters that change; a single one is often one without effect
STEP = 0.2  # of a number's range: the standard deviation of its change


class MutationSampler(BaseSampler):
    """Local search (arXiv 2005.02960) around several parents, as in evolution (arXiv 1802.01548).

    The parent is one of the best trials that have ended well; as long as there is none, the oldest
    trial that has parameters, so that a search is local from its second trial on if the first one
    was queued. A number moves by a normal step within its range, a choice becomes another one.

    Args:
        seed: equal histories and seeds give equal draws.
    """

    def __init__(self, *, seed: int) -> None:
        self._random = random.Random(seed)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters of the possible parents that can be changed.

        Those that were queued for this trial cannot.
        """
        parents = _parents(study, trial)
        if not parents:
            return {}
        found, fixed = parents[0].distributions, trial.system_attrs.get("fixed_params", {})
        return {
            name: found[name]
            for name in sorted(found)
            if name not in fixed and not found[name].single()
        }

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a parent's parameters, a few of them changed."""
        parents = [
            parent
            for parent in _parents(study, trial)
            if search_space.keys() <= parent.params.keys()
        ]
        if not parents or not search_space:
            return {}
        parameters = self._random.choice(parents).params
        drawn = {name: parameters[name] for name in search_space}
        count = min(self._random.choice(CHANGES), len(drawn))
        for name in self._random.sample(sorted(drawn), count):
            drawn[name] = self._changed(drawn[name], search_space[name])
        return drawn

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample a parameter that no parent has."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _changed(self, value: Any, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return self._random.choice([c for c in distribution.choices if c != value])
        if isinstance(distribution, IntDistribution):
            numbers = range(distribution.low, distribution.high + 1, distribution.step)
            near = sorted((n for n in numbers if n != value), key=lambda n: abs(n - value))
            return self._random.choice(near[:2])
        assert isinstance(distribution, FloatDistribution)
        low, high = distribution.low, distribution.high
        if distribution.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        moved = self._random.gauss(value, STEP * (high - low))
        moved = min(max(moved, low), high)
        return _exact(math.exp(moved) if distribution.log else moved, distribution)


def _exact(value: float, distribution: FloatDistribution) -> float:
    """Return the number of the range that is nearest, in spite of rounding and steps."""
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    return min(max(value, distribution.low), distribution.high)


def _parents(study: Study, trial: FrozenTrial) -> Sequence[FrozenTrial]:
    """Return the best trials that have ended well, else the oldest that has parameters."""
    others = [
        other
        for other in study.get_trials(deepcopy=False)
        if other.number != trial.number and other.params
    ]
    complete = [other for other in others if other.state == TrialState.COMPLETE]
    if not complete:
        return others[:1]
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    best = sorted(complete, key=lambda other: (sign * (other.value or 0.0), other.number))
    return best[:PARENTS]
