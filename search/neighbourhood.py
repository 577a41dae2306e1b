"""`LocalSearchSampler` and `GreedySampler`: what differs from the best trial in one parameter."""

from collections.abc import Iterator
from typing import Any

from search.changes import neighbours, values
from search.history import Distributions, History, HistorySampler, chosen, signature, tried


class LocalSearchSampler(HistorySampler):
    """Local search (arXiv 2005.02960): a neighbour of the best trial, in random order.

    A neighbour differs in one parameter by one step. When all have been tried, the next trial is
    random.
    """

    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return a neighbour that nobody has tried."""
        best = (history.ended_well or history.trials)[0]
        around = [
            chosen(best, space) | {name: value}
            for name, distribution in space.items()
            for value in neighbours(best.params[name], distribution)
        ]
        self.generator.shuffle(around)
        known = tried(history.trials, space)
        return next((each for each in around if signature(each, space) not in known), {})


class GreedySampler(HistorySampler):
    """Coordinate descent: all values of one parameter, the best of which stays; then the next.

    It begins at the first trial, a search's prior. Continuous ranges have a few levels. When a
    parameter has brought something, the others have their turn again; when none does, the next
    trial is random.
    """

    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return the best trial with another value of the parameter whose turn it is."""
        best = (history.ended_well or history.trials)[0]
        known = tried(history.trials, space)
        for name in _by_turns(history, space):
            for value in values(space[name]):
                drawn = chosen(best, space) | {name: value}
                if signature(drawn, space) not in known:
                    return drawn
        return {}


def _by_turns(history: History, space: Distributions) -> Iterator[str]:
    """Return the parameters, first the one that the last improvement has changed."""
    names, first = list(space), 0
    best = history.incumbents()[-2:]
    if len(best) > 1:
        before, after = (chosen(trial, space) for trial in best)
        first = next((n for n, name in enumerate(names) if before[name] != after[name]), 0)
    yield from names[first:]
    yield from names[:first]
