"""Which trials stop before their end.

By default early discard: dropping all but the best after one epoch gave the quality of successive
halving at about a tenth of the compute of full training (arXiv 2307.15422, 2404.04111). Here it is
the clearly worse ones that are dropped.
"""

from typing import Literal, get_args

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.attributes import RUNG_ERROR, Cost, cost_of, curve_of

Pruning = Literal["discard", "halving", "hyperband", "median", "patience", "none"]

PRUNINGS: tuple[Pruning, ...] = get_args(Pruning)
PRUNINGS_WITH_A_COST: tuple[Pruning, ...] = ("discard", "none")  # Optuna's know no cost
CLEARLY = 3.0  # standard errors by which a trial is behind that is discarded
REDUCTION = 3  # of three trials one goes on
STARTUP_TRIALS = 5  # that the median pruner leaves alone
PATIENCE_SHARE = 0.25  # of the epochs, without an improvement


def make_pruner(
    pruning: Pruning, *, epochs: int, rung: int, keep: int, cost: Cost | None = None
) -> BasePruner:
    """Return a pruner for trials of about so many epochs.

    Args:
        rung, keep: of early discard: at which epoch how many of the best go on.
        cost: that is to be small besides; only early discard knows what that means.
    """
    if pruning == "discard" and rung:
        return EarlyDiscardPruner(after=rung, keep=keep, cost=cost)
    if pruning == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    if pruning == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=REDUCTION)
    if pruning == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=rung)
    if pruning == "patience":
        return PatientPruner(None, patience=max(1, round(PATIENCE_SHARE * epochs)))
    return NopPruner()


class EarlyDiscardPruner(BasePruner):
    """Prunes a trial at epoch `after` that is clearly worse there than the best so far.

    That is, behind it by more than `CLEARLY` standard errors of its score, if it has one, and not
    among the best `keep`. Among good trials a score after few epochs hardly tells which will be
    better in the end (docs/search.md). Trials that were pruned, and those still running, count too;
    ties go to the earlier trial. Where a cost is to be small as well, only trials count that are at
    most as costly.
    """

    def __init__(self, *, after: int, keep: int, cost: Cost | None = None) -> None:
        self._after = after
        self._keep = keep
        self._cost = cost

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Say whether `trial` should stop at its last reported epoch."""
        curve = curve_of(trial)
        if max(curve, default=None) != self._after:
            return False
        value, better = curve[self._after], list[float]()
        for other in study.get_trials(deepcopy=False):
            there = curve_of(other).get(self._after)
            if there is None or other.number == trial.number or self._costs_more(other, trial):
                continue
            if (-there, other.number) < (-value, trial.number):
                better.append(there)
        margin = CLEARLY * trial.user_attrs.get(RUNG_ERROR, 0.0)
        return len(better) >= self._keep and max(better) - value >= margin

    def _costs_more(self, other: FrozenTrial, trial: FrozenTrial) -> bool:
        if self._cost is None:
            return False
        theirs, own = cost_of(other, self._cost), cost_of(trial, self._cost)
        return theirs is None or own is None or theirs > own
