"""How sure a score is: its standard error and interval over other rows of the same kind."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from search.metrics import Metric, Targets, accuracy, confusion
from search.predictions import Z_95, log_losses

RESAMPLES = 100  # of a bootstrap's rows: its error of an error is a fourteenth
PRIOR = 0.5  # rows that are right, and as many that are not, added to each class (Jeffreys)
MOST_CLASSES = 300  # for which that is done; it takes time with their square

Rows = NDArray[np.int64]


def standard_error(
    metric: Metric,
    targets: Targets,
    probabilities: NDArray[np.floating],
    *,
    seed: int,
    groups: Rows | None = None,
) -> float:
    """Return the standard error of a score over other rows of the same kind.

    That of an accuracy is the binomial one; of other metrics that of scores that might have been.

    Args:
        groups: (rows,) of rows that are right or wrong together.
    """
    if groups is not None:
        effect = group_effect(metric, targets, probabilities, groups, seed=seed)
        return math.sqrt(effect) * standard_error(metric, targets, probabilities, seed=seed)
    if metric.name == "accuracy":
        return binomial_error(accuracy(targets, probabilities), rows=len(targets))
    draws = _other_scores(metric, targets, probabilities, seed=seed, count=RESAMPLES)
    spread = float(np.nanstd(draws, ddof=1))
    return spread if math.isfinite(spread) else 0.0


def binomial_error(accuracy: float, *, rows: int) -> float:
    """Return the standard error of an accuracy measured on so many rows, as a share.

    Half a row more is right, and half a row more is not (Jeffreys): that all are right does not say
    that all others would be.
    """
    share = (accuracy * rows + PRIOR) / (rows + 2.0 * PRIOR)
    return math.sqrt(share * (1.0 - share) / rows)


def bootstrap_interval(
    metric: Metric, targets: Targets, probabilities: NDArray[np.floating], *, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of a score over other rows of the same kind; it holds the score."""
    count = (10 if metric.by_class else 2) * RESAMPLES
    draws = _other_scores(metric, targets, probabilities, seed=seed, count=count)
    score = metric.score(targets, probabilities)
    low, high = np.nanquantile(draws, (0.025, 0.975))
    return min(float(low), score), max(min(float(high), metric.highest), score)


def design_effect(values: NDArray[np.float64], groups: Rows) -> float:
    """Return how many rows tell as much together as one row would that is in no group.

    Rows of one group (a patient, a video) are right or wrong together, so they are fewer than they
    seem: a mean's variance over other groups, over its variance if all rows stood for themselves
    (L. Kish, "Survey sampling", 1965). At least 1. One row more is counted as far off as the
    farthest, with all of its group: a single mistake does not say that mistakes come alone.

    Args:
        values: (rows,) 1 for a row that is right and 0 for one that is not, or its error.
        groups: (rows,).
    """
    unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    count, most = len(sizes), float(np.square(sizes).sum()) / len(values)
    off = np.square(values - values.mean())
    alone, farthest = float(off.sum()), float(off.max())
    if alone == 0.0 or count < 2:  # nothing differs: as if each group were all alike
        return most
    sums = np.bincount(unit, weights=values - values.mean())
    together = float(np.square(sums).sum())
    effect = (together + farthest * most) / (alone + farthest)
    return max(1.0, effect) * _few_groups(count)


def _few_groups(count: int) -> float:
    """Return by how much more a variance among so few groups must be taken.

    It is that about their own mean, and Student's 95 % quantile is above a normal distribution's.
    """
    from scipy.special import stdtrit  # takes a moment to load

    if count < 2:
        return 1.0
    return float(stdtrit(count - 1, 0.975) / Z_95) ** 2 * count / (count - 1)


def group_effect(
    metric: Metric,
    targets: Targets,
    probabilities: NDArray[np.floating],
    groups: Rows,
    *,
    seed: int,
) -> float:
    """Return by how much the variance of a score grows because rows are in groups; at least 1.

    Of a mean over rows that is Kish's design effect of what each row adds to it; of other metrics
    the variance over groups that are drawn again, over that of single rows.
    """
    values = _row_values(metric, targets, probabilities)
    if values is not None:
        return design_effect(values, groups)
    score = _scorer(metric, targets, probabilities)
    together = [score(rows) for rows in _drawn_groups(groups, seed=seed)]
    alone = resampled(metric, targets, probabilities, seed=seed)
    spreads = [float(np.nanvar(scores, ddof=1)) for scores in (together, alone)]
    sizes = np.unique(groups, return_counts=True)[1]
    if not min(spreads) > 0.0 or len(sizes) < 2:  # nothing is known of how they differ
        return float(np.square(sizes).sum()) / len(targets)
    return max(1.0, spreads[0] / spreads[1]) * _few_groups(len(sizes))


def _drawn_groups(groups: Rows, *, seed: int, count: int = RESAMPLES) -> Iterator[Rows]:
    """Yield the rows of as many groups as there are, drawn with replacement, so many times."""
    generator, order = np.random.default_rng(seed), np.argsort(groups, kind="stable")
    _, firsts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    for _ in range(count):
        drawn = generator.integers(0, len(firsts), len(firsts))
        lengths = sizes[drawn]
        before = np.cumsum(lengths) - lengths  # rows of the groups drawn so far
        yield order[np.repeat(firsts[drawn] - before, lengths) + np.arange(lengths.sum())]


def _row_values(
    metric: Metric, targets: Targets, probabilities: NDArray[np.floating]
) -> NDArray[np.float64] | None:
    """Return what each row adds to a score that is a mean over rows; None of any other score."""
    if metric.task == "regression":
        errors = probabilities[:, 0] - targets
        return np.asarray(np.abs(errors) if metric.name == "mae" else np.square(errors))
    if metric.name == "log_loss":
        return log_losses(probabilities[np.arange(len(targets)), targets])
    if metric.name == "accuracy":
        return np.asarray(probabilities.argmax(1) == targets, dtype=np.float64)
    return None


def widened(
    interval: tuple[float, float], score: float, *, effect: float, highest: float
) -> tuple[float, float]:
    """Return an interval over single rows as one over rows in groups with a design effect."""
    low, high = interval
    times = math.sqrt(effect)
    return score - times * (score - low), min(score + times * (high - score), highest)


def resampled(
    metric: Metric,
    targets: Targets,
    probabilities: NDArray[np.floating],
    *,
    seed: int,
    count: int = RESAMPLES,
    groups: Rows | None = None,
) -> NDArray[np.float64]:
    """Return the scores of so many draws of as many rows, or groups of rows, with replacement.

    (B. Efron, Annals of Statistics 7, 1979.) Equal seeds draw equal rows. Scores of groups lie as
    far apart as it takes to know as little as so few groups tell.
    """
    score = _scorer(metric, targets, probabilities)
    if groups is not None:
        drawn = _drawn_groups(groups, seed=seed, count=count)
        scores = np.array([score(rows) for rows in drawn])
        mean = np.nanmean(scores)
        return np.asarray(mean + math.sqrt(_few_groups(len(np.unique(groups)))) * (scores - mean))
    generator = np.random.default_rng(seed)
    draws = (generator.integers(0, len(targets), len(targets)) for _ in range(count))
    return np.array([score(rows) for rows in draws])


def _scorer(
    metric: Metric, targets: Targets, probabilities: NDArray[np.floating]
) -> Callable[[Rows], float]:
    """Return what scores some rows; what rows have by themselves is computed once for all draws."""
    if metric.of_counts is not None:
        of_counts, classes = metric.of_counts, probabilities.shape[1]
        pairs = targets * classes + probabilities.argmax(1)

        def by_class(rows: Rows) -> float:
            counts = np.bincount(pairs[rows], minlength=classes**2)
            return of_counts(counts.reshape(classes, classes))

        return by_class
    if metric.name == "log_loss":
        losses = log_losses(probabilities[np.arange(len(targets)), targets])
        return lambda rows: -float(losses[rows].mean())
    return lambda rows: metric.score(targets[rows], probabilities[rows])


def _other_scores(
    metric: Metric, targets: Targets, probabilities: NDArray[np.floating], *, seed: int, count: int
) -> NDArray[np.float64]:
    """Return so many scores that might have been, about the one that was.

    Rows are drawn again; where their classes are all that matters, what share of each class is
    right, from its distribution given the rows: that a class's few rows are all right does not say
    that all others are.
    """
    if metric.of_counts is None or probabilities.shape[1] > MOST_CLASSES:
        return resampled(metric, targets, probabilities, seed=seed, count=count)
    counts = confusion(targets, probabilities)
    draws = _drawn_counts(counts, np.random.default_rng(seed), count=count)
    scores = np.array([metric.of_counts(drawn) for drawn in draws])
    # the prior draws each class towards a half; only by how much scores differ is to be known
    return np.asarray(scores - scores.mean() + metric.of_counts(counts))


def _drawn_counts(
    counts: Rows, generator: np.random.Generator, *, count: int
) -> Iterator[NDArray[np.float64]]:
    """Yield confusions (classes, classes) of as many rows that might have been."""
    rows, right = counts.sum(1), counts.diagonal()
    others = 1.0 - np.eye(len(rows))
    wrong = counts * others
    missed = wrong.sum(1, keepdims=True)
    known = others * ((rows + counts.sum(0)) > 0)  # a class that does not occur stays away
    even = known / np.maximum(known.sum(1, keepdims=True), 1.0)
    shares = np.where(missed > 0, wrong / np.maximum(missed, 1.0), even)
    for _ in range(count):
        sizes = generator.multinomial(rows.sum(), rows / rows.sum())
        hits = sizes * generator.beta(right + PRIOR, rows - right + PRIOR)
        yield (sizes - hits)[:, None] * shares + np.diag(hits)
