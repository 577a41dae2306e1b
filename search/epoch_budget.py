"""How many epochs of trials a search has used, where their number is limited."""

from collections.abc import Sequence

from search.plan import Plan
from search.store.records import TrialRecord

UNTRAINED = ("copied", "infeasible", "waiting")


def allows_trial(records: Sequence[TrialRecord], plan: Plan, *, max_epochs: int) -> bool:
    """Whether one more trial is certain to stay within so many epochs of all trials."""
    first = all(record.state == "waiting" for record in records)  # the prior
    needed = plan.search_epochs if first else plan.most_epochs
    return epochs_used(records, most=plan.most_epochs) + needed <= max_epochs


def epochs_used(records: Sequence[TrialRecord], *, most: int) -> int:
    """Return the epochs that trials have trained, or may still train if they have not ended.

    An epoch is as many images as there are rows: where a training leaves out those that it knows,
    it goes through the others more often. A trial that ended in trouble counts as if it had
    trained to its end.

    Args:
        most: that a trial trains, where it is not known yet of which network.
    """
    return sum(_epochs(record, most) for record in records if record.state not in UNTRAINED)


def _epochs(record: TrialRecord, most: int) -> int:
    planned = most if record.candidate is None else record.candidate.recipe.epochs
    stopped = record.state in ("pruned", "out of time") and record.curve
    return max(record.curve) if stopped else planned
