"""`EvolutionSampler`: regularised evolution."""

from typing import Any

from search.history import Distributions, History, HistorySampler, with_changes

POPULATION = 20  # of the trials that have ended well, the youngest
TOURNAMENT = 5  # of them, whose best is changed


class EvolutionSampler(HistorySampler):
    """Regularised evolution (arXiv 1802.01548): the old die, however good they are.

    The first trials are random. Then one parameter changes of the best of some that are drawn
    from the population.
    """

    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return the parameters of a tournament's winner, one of them changed."""
        if len(history.ended_well) < POPULATION:
            return {}
        ranks = {trial.number: rank for rank, trial in enumerate(history.ended_well)}
        population = sorted(history.ended_well, key=lambda trial: trial.number)[-POPULATION:]
        drawn = self.generator.sample(population, TOURNAMENT)
        winner = min(drawn, key=lambda trial: ranks[trial.number])
        return with_changes(winner, space, count=1, generator=self.generator)
