"""How many epochs of trials a search has used, where their number is limited."""

from collections.abc import Sequence

from search.plan import COOLDOWN, Plan
from search.store.records import TrialRecord

UNTRAINED = ("copied", "infeasible", "waiting")


def allows_trial(records: Sequence[TrialRecord], plan: Plan, *, rung: int, max_epochs: int) -> bool:
    """Whether one more trial stays within so many epochs of all trials.

    It does unless it diverges and is begun again.
    """
    first = all(record.state == "waiting" for record in records)  # the prior
    needed = branch(rung) + (plan.search_epochs if first else plan.most_epochs)
    return epochs_used(records, most=plan.most_epochs, rung=rung) + needed <= max_epochs


def branch(rung: int) -> float:
    """Return the epochs of the branch by which a trial is judged at its rung; 0: it is not."""
    return COOLDOWN * rung


def epochs_used(records: Sequence[TrialRecord], *, most: int, rung: int) -> float:
    """Return the epochs that trials have trained, or may still train if they have not ended.

    An epoch is as many images as there are rows: where a training leaves out those that it knows,
    it goes through the others more often. A trial that ended in trouble counts as if it had
    trained to its end.

    Args:
        most: that a trial trains, where it is not known yet of which network.
        rung: after which a trial is judged by a branch, which trains as well.
    """
    trained = [record for record in records if record.state not in UNTRAINED]
    return sum(_epochs(record, most, rung) for record in trained)


def _epochs(record: TrialRecord, most: int, rung: int) -> float:
    planned = most if record.candidate is None else record.candidate.recipe.epochs
    stopped = record.state in ("pruned", "out of time") and record.curve
    epochs = max(record.curve) if stopped else planned
    return epochs + (branch(rung) if epochs >= rung else 0.0)
