"""`MutationSampler`: changes a few parameters of one of the best trials so far."""

from typing import Any

from search.history import Distributions, History, HistorySampler, with_changes

PARENTS = 4  # of the best trials, any of which may be changed: scores are noisy
CHANGES = (2, 3, 4)  # parameters that change; a single one is often one without effect


class MutationSampler(HistorySampler):
    """Local search (arXiv 2005.02960) around several parents, as in evolution (arXiv 1802.01548).

    The parent is one of the best trials that have ended well; as long as there is none, the oldest
    trial that has parameters, so that a search is local from its second trial on if the first one
    was queued. A number moves by a normal step within its range, a choice becomes another one.
    """

    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return a parent's parameters, a few of them changed."""
        parents = history.ended_well[:PARENTS] or history.trials[:1]
        parent = self.generator.choice(parents)
        count = self.generator.choice(CHANGES)
        return with_changes(parent, space, count=count, generator=self.generator)
