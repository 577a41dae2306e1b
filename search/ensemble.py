"""Weighted averages of models, chosen greedily on their out-of-fold predictions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
import pydantic
from numpy.typing import NDArray

from search.metrics import METRICS, Metric
from search.predictions import OutOfFoldPredictions, mean_log_loss
from spaces.errors import InputError
from spaces.values import Value, validated

ROUNDS = 25
SCORE_DECIMALS = 6  # that scores are compared by, so that float noise admits nobody


class Ensemble(Value):
    """Models and the weights that their probabilities are averaged with.

    Attributes:
        members: names of the models, ascending; each once.
        weights: theirs, positive, with a sum of 1.
        score: by the metric, on the rows that the members were chosen on, hence optimistic.
        rounds: the score after each round of the selection, those beyond the best included.
    """

    members: tuple[str, ...]
    weights: tuple[Annotated[float, pydantic.Field(gt=0)], ...]
    score: float
    rounds: tuple[float, ...] = ()

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if not self.members or len(set(self.members)) != len(self.members):
            raise ValueError(f"members must be one or more, each once, but got {self.members}")
        if len(self.weights) != len(self.members):
            raise ValueError(
                f"each of {len(self.members)} members must have a weight, "
                f"but got {len(self.weights)} weights"
            )
        if not math.isclose(sum(self.weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"weights must sum to 1, but got {sum(self.weights)}")
        return self

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Rebuild an ensemble; `InputError` states the first rule that the data break."""
        return validated(cls, data, error=InputError, where="ensemble")

    def combine(self, probabilities: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the members' weighted mean, (rows, classes) float32.

        Args:
            probabilities: (rows, classes) of at least each member, by name.

        Raises:
            ValueError: if a member is missing or the shapes differ.
        """
        missing = [name for name in self.members if name not in probabilities]
        if missing:
            raise ValueError(f"each member must have probabilities, but got none of {missing}")
        shapes = {name: probabilities[name].shape for name in self.members}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"members' probabilities must have one shape, but got {shapes}")
        mean = np.zeros(shapes[self.members[0]], dtype=np.float64)
        for name, weight in zip(self.members, self.weights, strict=True):
            mean += weight * probabilities[name].astype(np.float64)
        return mean.astype(np.float32)


def greedy_selection(
    *,
    predictions: Mapping[str, OutOfFoldPredictions],
    metric: Metric = METRICS["accuracy"],
    rounds: int = ROUNDS,
    seed: int,
) -> Ensemble:
    """Choose an ensemble by greedy selection with replacement.

    Caruana et al., "Ensemble selection from libraries of models" (ICML 2004), as AutoGluon does
    it (Erickson et al., arXiv 2003.06505). From nothing, each round adds the model that gives the
    mean the best score; among equals a model already in, then the lowest log-loss of the
    mean, then chance. After the last round everything beyond the first best is taken back.
    Weights are how often a model was added, by the number of additions.

    Scores count the rows that all models predicted. The order of `predictions` has no effect.

    Raises:
        ValueError: if there are no models, rounds or common rows, or if targets or classes differ.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, but got {rounds}")
    names = sorted(predictions)
    targets, models = _on_common_rows([predictions[name] for name in names])
    rng = np.random.default_rng(seed)
    # In float64 the sum of a few float32 has practically no rounding error.
    total = np.zeros(models[0].shape, dtype=np.float64)
    chosen: list[int] = []
    scores: list[float] = []
    for _ in range(rounds):
        # One model at a time: as fast as all in one array, and 60,000 rows stay within 5 MB.
        size = len(chosen) + 1
        tries = np.array([_score(total + model, size, targets, metric) for model in models])
        compared = tries.round(SCORE_DECIMALS) if chosen else tries
        tied = np.flatnonzero(compared == compared.max())
        best = _break_tie(tied, chosen=chosen, total=total, models=models, targets=targets, rng=rng)
        total += models[best]
        chosen.append(best)
        scores.append(float(tries[best]))
    best_size = int(np.argmax(np.round(scores, SCORE_DECIMALS))) + 1
    counts = sorted(Counter(chosen[:best_size]).items())
    return Ensemble(
        members=tuple(names[model] for model, _ in counts),
        weights=tuple(count / best_size for _, count in counts),
        score=scores[best_size - 1],
        rounds=tuple(scores),
    )


def _on_common_rows(
    predictions: Sequence[OutOfFoldPredictions],
) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
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


def _score(
    sums: NDArray[np.float64], size: int, targets: NDArray[np.int64], metric: Metric
) -> float:
    """Score the mean of `size` models; where classes alone count, their sum says the same."""
    return metric.score(targets, sums if metric.by_class else sums / size)


def _break_tie(
    tied: NDArray[np.intp],
    *,
    chosen: Sequence[int],
    total: NDArray[np.float64],
    models: Sequence[NDArray[np.float32]],
    targets: NDArray[np.int64],
    rng: np.random.Generator,
) -> int:
    """Return one of the `tied` models: one already in, then by log-loss, then by chance."""
    used = tied[np.isin(tied, chosen)]
    if len(used):
        tied = used
    if len(tied) > 1:
        size = len(chosen) + 1
        losses = np.array([mean_log_loss((total + models[m]) / size, targets) for m in tied])
        tied = tied[losses == losses.min()]
    return int(rng.choice(tied)) if len(tied) > 1 else int(tied[0])
