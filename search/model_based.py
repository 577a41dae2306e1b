"""`ModelSampler`: changes the best trials as a model of all trials says is best."""

from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.attributes import MEMORY, MEMORY_MET, curve_of
from search.history import Distributions, History, HistorySampler, signature, tried, with_changes
from search.mutation import MutationSampler, different
from search.surrogate import Surrogate, are_choices, encoded, likeliest_kernel

FEWEST = 2  # trials with a score, before which the parent alone is changed
PARENTS = 12  # of the trials with a score, the best
FIRST_CHANGES = (1, 1, 2)  # parameters that change as long as there is no model
CHANGES = (1, 2, 3, 4)
POOL = 64  # changed settings, of which the model chooses one
ATTEMPTS = 3  # times the pool to find so many that nobody has tried
HOPE = 1.5  # deviations above the mean, by which settings are compared
KERNEL_AT = (*range(2, 25), 32, 40, 48, 64)  # ended trials, at which it is chosen anew
MOST = 96  # trials that the model is made of: the best and the latest
SLOPE = 0.7  # of the final score over that at the first validation, among trials of one search
DOUBT = 3.0  # times the noise, of a final score that was concluded from the first one


class ModelSampler(HistorySampler):
    """Mutation whose children are chosen by a model, as in NPENAS (arXiv 2003.12857).

    Settings around the best trials are drawn as by `MutationSampler`, and the one is proposed of
    which the surrogate hopes most: its mean and a deviation. Trials that were discarded teach it,
    too: by their score at the first validation, compared with those of trials that went on; and
    those that did not fit in memory, which count for as bad as the worst. With two objectives it
    is `MutationSampler`.
    """

    def propose(self, history: History, space: Distributions) -> dict[str, Any]:
        """Return a parent's parameters, a few of them changed, as nobody has tried them."""
        if history.objectives > 1:
            return MutationSampler(seed=self.generator.randrange(2**31)).propose(history, space)
        scored, scores, doubts = _scored(history)
        order = np.argsort(-scores, kind="stable")
        parents = different([scored[n] for n in order], space, count=PARENTS)
        known = len(scored) >= FEWEST
        pool = self._pool(
            parents or [history.closest()],
            history,
            space,
            changes=CHANGES if known else FIRST_CHANGES,
        )
        if not pool or not known:
            return pool[0] if pool else {}
        settings = np.array([encoded(each.params, space) for each in scored])
        choices = are_choices(space)
        early = _first(scored)
        kernel = likeliest_kernel(
            settings[early], choices=choices, scores=scores[early], doubts=doubts[early]
        )
        chosen = sorted({*order[: MOST // 2].tolist(), *range(len(scored))[-MOST // 2 :]})
        lacking = [encoded(each.params, space) for each in _without_memory(history)[-MOST // 4 :]]
        known_settings = [*settings[chosen], *lacking]
        model = Surrogate(
            np.array(known_settings),
            choices=choices,
            scores=np.append(scores[chosen], [scores.min()] * len(lacking)),
            doubts=np.append(doubts[chosen], [1.0] * len(lacking)),
            kernel=kernel,
        )
        means, deviations = model.predict(np.array([encoded(each, space) for each in pool]))
        return pool[int(np.argmax(means + HOPE * deviations))]

    def _pool(
        self,
        parents: list[FrozenTrial],
        history: History,
        space: Distributions,
        *,
        changes: tuple[int, ...],
    ) -> list[dict[str, Any]]:
        known, pool = tried(history.trials, space), list[dict[str, Any]]()
        for _ in range(ATTEMPTS * POOL):
            parent, count = self.generator.choice(parents), self.generator.choice(changes)
            drawn = with_changes(parent, space, count=count, generator=self.generator)
            if signature(drawn, space) not in known:
                known.add(signature(drawn, space))
                pool.append(drawn)
            if len(pool) == POOL:
                break
        return pool


def _first(scored: list[FrozenTrial]) -> list[int]:
    """Return the places of the trials by which the kernel is chosen: the first ones, so many.

    Of many trials it is chosen anew only now and then: asking for one would take long, and others
    wait for it.
    """
    ended = [n for n, trial in enumerate(scored) if trial.state != TrialState.RUNNING]
    count = max((number for number in KERNEL_AT if number <= len(ended)), default=FEWEST)
    return ended[:count] or list(range(len(scored)))


def _without_memory(history: History) -> list[FrozenTrial]:
    """Return the trials whose networks have not fitted in memory, by what was counted or met."""
    return [
        trial
        for trial in history.trials
        if any(trial.constraints.get(name, 0.0) > 0.0 for name in (MEMORY, MEMORY_MET))
    ]


def _scored(history: History) -> tuple[list[FrozenTrial], Any, Any]:
    """Return the trials that have shown something, their final scores, and how sure these are.

    Of a trial that was discarded, or is still running, the final score is concluded from the first
    validation's.
    """
    ended = {trial.number for trial in history.ended_well}
    first = {t.number: min(curve_of(t).items())[1] for t in history.trials if curve_of(t)}
    both = [(t.values[0], first[t.number]) for t in history.ended_well if t.number in first]
    finals, firsts = np.array(both).mean(0) if both else (0.0, 0.0)
    trials, scores, doubts = [], [], []
    for trial in history.trials:
        if trial.number in ended:
            scores.append(history.sign * trial.values[0])
            doubts.append(1.0)
        elif trial.number in first and trial.state != TrialState.FAIL:
            concluded = (
                finals + SLOPE * (first[trial.number] - firsts) if both else first[trial.number]
            )
            scores.append(history.sign * concluded)
            doubts.append(DOUBT)
        else:
            continue
        trials.append(trial)
    return trials, np.array(scores, dtype=np.float64), np.array(doubts, dtype=np.float64)
