"""Greedy selection: which models an ensemble is made of, by their out-of-fold predictions."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from search.ensemble import Ensemble
from search.joint_costs import JointCosts, Room
from search.metrics import METRICS, Metric, Targets, pair_counts
from search.predictions import OutOfFoldPredictions, log_losses

ROUNDS = 25
SCORE_DECIMALS = 6  # that scores are compared by, so that float noise admits nobody
FREE = JointCosts()
ROUNDING = 1e-6  # by which sums of probabilities may be off, at most

Probabilities = NDArray[np.float32]


def greedy_selection(
    *,
    predictions: Mapping[str, OutOfFoldPredictions],
    metric: Metric = METRICS["accuracy"],
    rounds: int = ROUNDS,
    seed: int,
    costs: JointCosts = FREE,
) -> Ensemble:
    """Choose an ensemble by greedy selection with replacement.

    Caruana et al., "Ensemble selection from libraries of models" (ICML 2004), as AutoGluon does
    it (Erickson et al., arXiv 2003.06505). From nothing, each round adds the model that gives the
    mean the best score; among equals a model already in, then the lowest log-loss of the mean (of
    numbers, the lowest squared error), then chance. After the last round everything beyond the
    first best is taken back. Weights are how often a model was added, by the number of additions.

    Scores count the rows that all models predicted. The order of `predictions` has no effect.

    Args:
        costs: a model is added only while the members stay within all limits, and scores are
            compared after what the members cost is taken off.

    Raises:
        ValueError: if there are no models, rounds or common rows, if targets or classes differ, or
            if no model is within the limits.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, but got {rounds}")
    names = sorted(predictions)
    targets, models = _on_common_rows([predictions[name] for name in names])
    rng, unit = np.random.default_rng(seed), metric.unit(targets)
    room = Room(names, costs)
    tally = _tally(targets, models, metric)
    # In float64 the sum of a few float32 has practically no rounding error.
    total = np.zeros(models[0].shape, dtype=np.float64)
    chosen: list[int] = []
    scores: list[float] = []
    worths: list[float] = []  # scores less what the members cost
    for _ in range(rounds):
        # where the rows have no score (of one class there are no ranks), all models are alike
        tries = np.nan_to_num(tally.with_each(total, size=len(chosen) + 1), nan=0.0)
        worth = np.where(room.fits(), tries - room.prices(), -np.inf) / unit
        compared = worth.round(SCORE_DECIMALS) if chosen else worth
        tied = np.flatnonzero(compared == compared.max())
        best = _break_tie(
            tied,
            chosen=chosen,
            total=total,
            models=models,
            targets=targets,
            metric=metric,
            rng=rng,
        )
        total += models[best]
        chosen.append(best)
        room.take(best)
        scores.append(float(tries[best]))
        worths.append(float(worth[best]))
    best_size = int(np.argmax(np.round(worths, SCORE_DECIMALS))) + 1
    counts = sorted(Counter(chosen[:best_size]).items())
    return Ensemble(
        members=tuple(names[model] for model, _ in counts),
        weights=tuple(count / best_size for _, count in counts),
        score=scores[best_size - 1],
        rounds=tuple(scores),
    )


class _Tally(ABC):
    """Scores of an ensemble with each of the models added."""

    def __init__(self, targets: Targets, models: Sequence[Probabilities], metric: Metric) -> None:
        self.targets, self.models, self.metric = targets, models, metric

    @abstractmethod
    def with_each(self, total: NDArray[np.float64], *, size: int) -> NDArray[np.float64]:
        """Return a score for each model, if it were added to a sum of `size - 1` models."""


class _WholeTally(_Tally):
    """Of any metric: everything is computed."""

    def with_each(self, total: NDArray[np.float64], *, size: int) -> NDArray[np.float64]:
        return np.array(
            [self.metric.score(self.targets, (total + model) / size) for model in self.models]
        )


class _ClassTally(_Tally):
    """Of a metric that depends on each row's most probable class alone.

    A model changes a row's class only if it has another one gain on it by more than its lead. That
    is soon true of few rows, which alone are computed; most of them are known not to change
    whatever model is added.
    """

    def __init__(self, targets: Targets, models: Sequence[Probabilities], metric: Metric) -> None:
        super().__init__(targets, models, metric)
        self._highest = [model.max(1) for model in models]
        self._reach = np.zeros(models[0].shape, dtype=np.float32)  # that others gain on a class
        for model, highest in zip(models, self._highest, strict=True):
            np.maximum(self._reach, highest[:, None] - model, out=self._reach)

    def with_each(self, total: NDArray[np.float64], *, size: int) -> NDArray[np.float64]:
        if size == 1:
            return np.array([self.metric.score(self.targets, model) for model in self.models])
        rows, classes = np.arange(len(total)), total.shape[1]
        first = total.argmax(1)
        others = total.copy()
        others[rows, first] = -np.inf
        lead = total[rows, first] - others.max(1, initial=-np.inf) - ROUNDING
        open_rows = np.flatnonzero(lead <= self._reach[rows, first])
        lead, firsts = lead[open_rows], open_rows * classes + first[open_rows]
        counts = pair_counts(self.targets, first, classes=classes)
        of_counts = self.metric.of_counts
        assert of_counts is not None
        scores = []
        for model, highest in zip(self.models, self._highest, strict=True):
            gains = highest.take(open_rows) - model.reshape(-1).take(firsts)
            changing = open_rows[gains >= lead]
            changed = (total.take(changing, 0) + model.take(changing, 0)).argmax(1)
            targets = self.targets.take(changing)
            more = pair_counts(targets, changed, classes=classes)
            more -= pair_counts(targets, first.take(changing), classes=classes)
            scores.append(of_counts(counts + more))
        return np.array(scores)


class _LogLossTally(_Tally):
    """Of the log-loss, which depends on the true class's probability alone."""

    def __init__(self, targets: Targets, models: Sequence[Probabilities], metric: Metric) -> None:
        super().__init__(targets, models, metric)
        rows = np.arange(len(targets))
        self._given = [model[rows, targets] for model in models]

    def with_each(self, total: NDArray[np.float64], *, size: int) -> NDArray[np.float64]:
        given = total[np.arange(len(self.targets)), self.targets]
        return np.array([-log_losses((given + model) / size).mean() for model in self._given])


def _tally(targets: Targets, models: Sequence[Probabilities], metric: Metric) -> _Tally:
    if metric.of_counts is not None:
        return _ClassTally(targets, models, metric)
    kind = _LogLossTally if metric.name == "log_loss" else _WholeTally
    return kind(targets, models, metric)


def _on_common_rows(
    predictions: Sequence[OutOfFoldPredictions],
) -> tuple[Targets, list[NDArray[np.float32]]]:
    """Return targets (n,) and each model's probabilities (n, classes) where all predicted."""
    if not predictions:
        raise ValueError("an ensemble must be chosen from at least one model, but got none")
    first = predictions[0]
    shapes = {one.probabilities.shape for one in predictions}
    if len(shapes) != 1:
        raise ValueError(f"predictions must have one shape, but got {sorted(shapes)}")
    if not all(np.array_equal(one.targets, first.targets) for one in predictions):
        raise ValueError("predictions must have the same targets, but got others")
    common = np.logical_and.reduce([one.covered for one in predictions])
    if not common.any():
        covered = [int(one.covered.sum()) for one in predictions]
        raise ValueError(f"some row must be covered by all models, but they cover {covered} others")
    if common.all():
        return first.targets, [one.probabilities for one in predictions]  # without a copy
    return first.targets[common], [one.probabilities[common] for one in predictions]


def _break_tie(
    tied: NDArray[np.intp],
    *,
    chosen: Sequence[int],
    total: NDArray[np.float64],
    models: Sequence[NDArray[np.float32]],
    targets: Targets,
    metric: Metric,
    rng: np.random.Generator,
) -> int:
    """Return one of the `tied` models: one already in, then by its loss, then by chance."""
    used = tied[np.isin(tied, chosen)]
    if len(used):
        tied = used
    if len(tied) > 1:
        size = len(chosen) + 1
        losses = np.array([metric.loss(targets, (total + models[m]) / size) for m in tied])
        tied = tied[losses == losses.min()]
    return int(rng.choice(tied)) if len(tied) > 1 else int(tied[0])
