"""Early discard: after a few epochs only the best trials so far go on.

Dropping all but the best after one epoch gave the quality of successive halving at about a
tenth of the compute of full training (arXiv 2307.15422, 2404.04111).
"""

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial


class EarlyDiscardPruner(BasePruner):
    """Prunes a trial at epoch `after` unless it is among the best `keep` seen there so far.

    Trials that were pruned, and those still running, count too; ties go to the earlier trial.
    """

    def __init__(self, *, after: int, keep: int) -> None:
        self._after = after
        self._keep = keep

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Say whether `trial` should stop at its last reported epoch."""
        if trial.last_step != self._after:
            return False
        value = trial.intermediate_values[self._after]
        better = 0
        for other in study.get_trials(deepcopy=False):
            there = other.intermediate_values.get(self._after)
            if there is None or other.number == trial.number:
                continue
            better += (-there, other.number) < (-value, trial.number)
        return better >= self._keep
