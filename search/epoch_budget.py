"""How many epochs of trials a search has used, where their number is limited."""

from collections.abc import Callable, Sequence

from search.plan import COOLDOWN, Plan
from search.store.records import TrialRecord

UNTRAINED = ("copied", "infeasible", "waiting")


RungOf = Callable[[int], int]  # the epoch at which a trial of so many is judged; 0: it is not


def allows_trial(
    records: Sequence[TrialRecord], plan: Plan, *, rung_of: RungOf, max_epochs: int
) -> bool:
    """Whether one more trial stays within so many epochs of all trials.

    It does unless it diverges and is begun again.
    """
    first = all(record.state == "waiting" for record in records)  # the prior
    epochs = plan.search_epochs if first else plan.most_epochs
    used = epochs_used(records, most=plan.most_epochs, rung_of=rung_of)
    return used + epochs + branch(rung_of(epochs)) <= max_epochs


def branch(rung: int) -> float:
    """Return the epochs of the branch by which a trial is judged at its rung; 0: it is not."""
    return COOLDOWN * rung


def epochs_used(records: Sequence[TrialRecord], *, most: int, rung_of: RungOf) -> float:
    """Return the epochs that trials have trained, or may still train if they have not ended.

    An epoch is as many images as there are rows: where a training leaves out those that it knows,
    it goes through the others more often. A trial that ended in trouble counts as if it had
    trained to its end.

    Args:
        most: that a trial trains, where it is not known yet of which network.
        rung_of: says after which epoch a trial is judged by a branch, which trains as well.
    """
    trained = [record for record in records if record.state not in UNTRAINED]
    return sum(_epochs(record, most, rung_of) for record in trained)


def _epochs(record: TrialRecord, most: int, rung_of: RungOf) -> float:
    planned = most if record.candidate is None else record.candidate.recipe.epochs
    stopped = record.state in ("pruned", "out of time") and record.curve
    epochs = max(record.curve) if stopped else planned
    rung = rung_of(planned)
    return epochs + (branch(rung) if epochs >= rung else 0.0)
