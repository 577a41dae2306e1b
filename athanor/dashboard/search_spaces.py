"""Which parameters a study's trials have, and over which ranges: all of them, or any."""

from collections.abc import Iterable

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

Space = list[tuple[str, BaseDistribution]]


class SearchSpaces:
    """Counts how many trials have each parameter, trial by trial.

    Trials that have no parameters yet, or failed, say nothing of the space.
    """

    def __init__(self) -> None:
        self._trials = 0
        self._counts: dict[str, int] = {}
        self._merged: dict[str, list[BaseDistribution]] = {}

    def add(self, trial: FrozenTrial) -> None:
        """Take a trial in that will change no more."""
        if trial.state == TrialState.FAIL or not trial.distributions:
            return
        self._trials += 1
        for name, distribution in trial.distributions.items():
            self._counts[name] = self._counts.get(name, 0) + 1
            merged = self._merged.setdefault(name, [])
            for place, known in enumerate(merged):
                if known == distribution:
                    break
                both = _merge(known, distribution)
                if both is not None:
                    merged[place] = both
                    break
            else:
                merged.append(distribution)

    def both(self, open_trials: Iterable[FrozenTrial]) -> tuple[Space, Space]:
        """Return what all trials have and what any has, by name, with those that still run."""
        whole = SearchSpaces()
        whole._trials, whole._counts = self._trials, dict(self._counts)
        whole._merged = {name: list(merged) for name, merged in self._merged.items()}
        for trial in open_trials:
            whole.add(trial)
        union = [(name, each) for name in sorted(whole._merged) for each in whole._merged[name]]
        return [(n, d) for n, d in union if whole._counts[n] == whole._trials], union


def _merge(one: BaseDistribution, other: BaseDistribution) -> BaseDistribution | None:
    """Return the range of both; None if they are of different kinds."""
    if isinstance(one, CategoricalDistribution) and isinstance(other, CategoricalDistribution):
        return CategoricalDistribution(tuple(dict.fromkeys(one.choices + other.choices)))
    if isinstance(one, FloatDistribution) and isinstance(other, FloatDistribution):
        if (one.step, one.log) == (other.step, other.log):
            low, high = min(one.low, other.low), max(one.high, other.high)
            return FloatDistribution(low, high, step=one.step, log=one.log)
    elif (
        isinstance(one, IntDistribution)
        and isinstance(other, IntDistribution)
        and (one.step, one.log) == (other.step, other.log)
    ):
        low, high = min(one.low, other.low), max(one.high, other.high)
        return IntDistribution(low, high, step=one.step, log=one.log)
    return None
