"""Strategies: how trials' parameters are chosen, repeatably whatever happens to the workers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.evolution import EvolutionSampler
from search.exhaustive import ExhaustiveSampler
from search.model_based import ModelSampler
from search.mutation import MutationSampler
from search.neighbourhood import GreedySampler, LocalSearchSampler
from search.seeds import derived_seed

Strategy = Literal[
    "auto",
    "mutation",
    "random",
    "exhaustive",
    "greedy",
    "local",
    "evolution",
    "tpe",
    "gp",
    "cmaes",
    "nsga2",
    "nsga3",
]

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
STRATEGIES_WITH_A_COST: tuple[Strategy, ...] = (  # the others know but one objective
    "auto",
    "mutation",
    "random",
    "exhaustive",
    "tpe",
    "gp",
    "nsga2",
    "nsga3",
)
STARTUP_TRIALS = 10  # random trials before a model over parameters is used
DRAWN = "athanor:drawn"  # a trial's joint parameters
GENERATION = 20  # trials, of those that cross over
SAMPLERS: dict[Strategy, Callable[[int], BaseSampler]] = {
    "auto": lambda seed: ModelSampler(seed=seed),
    "mutation": lambda seed: MutationSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "exhaustive": lambda _: ExhaustiveSampler(),
    "greedy": lambda seed: GreedySampler(seed=seed),
    "local": lambda seed: LocalSearchSampler(seed=seed),
    "evolution": lambda seed: EvolutionSampler(seed=seed),
    "tpe": lambda seed: TPESampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
    ),
    "gp": lambda seed: GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
    "cmaes": lambda seed: CmaEsSampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False
    ),
    "nsga2": lambda seed: NSGAIISampler(seed=seed, population_size=GENERATION),
    "nsga3": lambda seed: NSGAIIISampler(seed=seed, population_size=GENERATION),
}


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
        return SAMPLERS[self._strategy](seed)

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
        """Sample the joint parameters, once: whoever takes the trial over is given the same."""
        if DRAWN in trial.system_attrs:
            return dict(trial.system_attrs[DRAWN])
        drawn = self._for(trial).sample_relative(study, trial, search_space)
        if drawn:
            study._storage.set_trial_system_attr(trial._trial_id, DRAWN, drawn)
        return drawn

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
