"""`ExhaustiveSampler`: every setting of a space once, in order."""

import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.changes import values


class ExhaustiveSampler(BaseSampler):
    """Counts through the settings: the trial's number, written in the parameters as digits.

    The first parameter changes fastest. Continuous ranges have a few levels. Queued parameters
    are no digits, and queued trials take up a number: so a search is exhaustive after as many
    trials as there are settings, and once more as many as the first trials were.
    """

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: parameters are chosen one by one."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: parameters are chosen one by one."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the digit of the trial's number that stands for this parameter."""
        fixed = trial.system_attrs.get("fixed_params", {})
        before = math.prod(
            len(values(distribution))
            for name, distribution in trial.distributions.items()
            if name not in fixed
        )
        digits = values(param_distribution)
        return digits[trial.number // before % len(digits)]
