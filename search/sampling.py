"""How the next trial's parameters are chosen, repeatably whatever happens to the workers."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.mutation import MutationSampler

Strategy = Literal["auto", "tpe", "random"]

STARTUP_TRIALS = 10  # random trials before the model over parameters is used


def make_sampler(strategy: Strategy, *, seed: int) -> BaseSampler:
    """Return a sampler whose draw for a trial depends on the seed, the trial's number and
    the study's history alone, so that a restarted worker draws what the old one would have.
    """
    return PerTrialSeed(strategy, seed=seed)


class PerTrialSeed(BaseSampler):
    """Asks a new, freshly seeded sampler for each trial, and for each parameter by itself.

    So a worker that takes a trial over in the middle of its sampling draws the rest alike.
    """

    def __init__(self, strategy: Strategy, *, seed: int) -> None:
        self._strategy = strategy
        self._seed = seed

    def _for(self, trial: FrozenTrial, *part: str) -> BaseSampler:
        seed = derived_seed(self._seed, "sampler", trial.number, *part)
        if self._strategy == "random":
            return RandomSampler(seed=seed)
        if self._strategy == "auto":
            return MutationSampler(seed=seed)
        return TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
        )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass the start of a trial on."""
        self._for(trial).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that are sampled jointly."""
        return self._for(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample the joint parameters."""
        return self._for(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample one parameter by itself."""
        sampler = self._for(trial, param_name)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Pass the end of a trial on."""
        self._for(trial).after_trial(study, trial, state, values)


def derived_seed(seed: int, *parts: object) -> int:
    """Return a seed below 2**31 that is fixed by `seed` and the parts, unlike for other parts."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
