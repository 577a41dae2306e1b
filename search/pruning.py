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

from search.attributes import RUNG, Cost, cost_of, curve_of

Pruning = Literal["discard", "halving", "hyperband", "median", "patience", "none"]

PRUNINGS: tuple[Pruning, ...] = get_args(Pruning)
PRUNINGS_WITH_A_COST: tuple[Pruning, ...] = ("discard", "none")  # Optuna's know no cost
CLEARLY = 3.0  # standard errors by which a trial is behind that is discarded
REDUCTION = 3  # of three trials one goes on
STARTUP_TRIALS = 5  # that the median pruner leaves alone
PATIENCE_SHARE = 0.25  # of the epochs, without an improvement


def make_pruner(
    pruning: Pruning, *, epochs: int, keep: int, cost: Cost | None = None
) -> BasePruner:
    """Return a pruner for trials of about so many epochs.

    Args:
        keep: of early discard: how many of the best go on in any case.
        cost: that is to be small besides; only early discard knows what that means.
    """
    if pruning == "discard":
        return EarlyDiscardPruner(keep=keep, cost=cost)
    if pruning == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    if pruning == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=REDUCTION)
    if pruning == "median":
        return MedianPruner(n_startup_trials=STARTUP_TRIALS)
    if pruning == "patience":
        return PatientPruner(None, patience=max(1, round(PATIENCE_SHARE * epochs)))
    return NopPruner()


class EarlyDiscardPruner(BasePruner):
    """Prunes a trial that is clearly worse at its rung than the best so far were at theirs.

    That is, behind by more than `CLEARLY` standard errors of its score, and not among the best
    `keep`. Each trial says with its score which epoch is its rung (`RUNG`): where trials have equal
    times, those of fast networks have more epochs. Among good trials a score after few epochs
    hardly tells which will be better in the end (docs/search.md). Trials that were pruned, and
    those still running, count too; ties go to the earlier trial. Where a cost is to be small as
    well, only trials count that are at most as costly.
    """

    def __init__(self, *, keep: int, cost: Cost | None = None) -> None:
        self._keep = keep
        self._cost = cost

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Say whether `trial` should stop at its last reported epoch."""
        value = _score_at_rung(trial)
        if value is None or max(curve_of(trial)) != trial.user_attrs[RUNG]["epoch"]:
            return False
        better = []
        for other in study.get_trials(deepcopy=False):
            there = _score_at_rung(other)
            if there is None or other.number == trial.number or self._costs_more(other, trial):
                continue
            if (-there, other.number) < (-value, trial.number):
                better.append(there)
        margin = CLEARLY * trial.user_attrs[RUNG]["error"]
        return len(better) >= self._keep and max(better) - value >= margin

    def _costs_more(self, other: FrozenTrial, trial: FrozenTrial) -> bool:
        if self._cost is None:
            return False
        theirs, own = cost_of(other, self._cost), cost_of(trial, self._cost)
        return theirs is None or own is None or theirs > own


def _score_at_rung(trial: FrozenTrial) -> float | None:
    rung = trial.user_attrs.get(RUNG)
    return None if rung is None else curve_of(trial).get(rung["epoch"])
