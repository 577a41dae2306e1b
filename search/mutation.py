"""`MutationSampler`: changes a few parameters of one of the best trials so far."""

from typing import Any

from optuna.trial import FrozenTrial

from search.history import Distributions, History, HistorySampler, signature, tried, with_changes

PARENTS = 4  # of the best trials, any of which may be changed: scores are noisy
CHANGES = (1, 2, 3, 4)  # parameters that change; a single one is often one without effect
ATTEMPTS = 30  # to draw what nobody has tried


class MutationSampler(HistorySampler):
    """Local search (arXiv 2005.02960) around several parents, as in evolution (arXiv 1802.01548).

    The parent is one of the best trials that have ended well, with two objectives any of their
    front; as long as there is none, the trial that is least far beyond the limits, the oldest of
    several. So a search is local from its second trial on if the first one was queued, and comes
    within the limits step by step if that one is not. A number moves by a normal step within its
    range, a choice becomes another one.
    """

    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return a parent's parameters, a few of them changed, as nobody has tried them."""
        count = max(PARENTS, history.front)
        parents = different(history.ended_well, space, count=count) or [history.closest()]
        known, drawn = tried(history.trials, space), dict[str, Any]()
        for _ in range(ATTEMPTS):
            parent = self.generator.choice(parents)
            count = self.generator.choice(CHANGES)
            drawn = with_changes(parent, space, count=count, generator=self.generator)
            if signature(drawn, space) not in known:
                break
        return drawn


def different(trials: list[FrozenTrial], space: Distributions, *, count: int) -> list[FrozenTrial]:
    """Return the first of the trials that differ from each other in these parameters."""
    found: dict[tuple[Any, ...], FrozenTrial] = {}
    for trial in trials:
        found.setdefault(signature(trial.params, space), trial)
        if len(found) == count:
            break
    return list(found.values())
