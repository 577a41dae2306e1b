"""What the model should score on the test set, said before that is opened.

The rows are those that the finalists' folds leave out: none of them chose a trial or a finalist.
Where finalists are combined, that is done by cross-fitting (`search/combining.py`), so that no row
flatters itself.
"""

import math
from dataclasses import dataclass

from search.calibration import as_scored
from search.combining import CrossFitted
from search.metrics import Metric
from search.predictions import Z_95, share_interval
from search.score_errors import standard_error

THOROUGH = 0.9  # of the images that its folds have seen, from which on a refit is as good as they


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score that is expected of the test set.

    Attributes:
        interval: that should hold the test score in 95 of 100 cases; it knows how few rows there
            are, here and in the test, not that other trainings would have given other networks.
        lower: the model should be better, as the mean of networks is that were judged one by one,
            or as one that has learnt from more rows.
    """

    score: float
    interval: tuple[float, float]
    rows: int
    lower: bool


def estimate(
    judged: CrossFitted,
    *,
    metric: Metric,
    seed: int,
    temperature: float = 1.0,
    effect: float = 1.0,
    test_rows: int,
    lower: bool,
) -> Estimate:
    """Estimate the test score from what a model says of rows that have chosen nothing of it.

    Args:
        temperature: of the model's probabilities.
        effect: of groups, by which rows here and in the test are fewer than they seem
            (`search.score_errors.design_effect`).
    """
    probabilities = as_scored(metric, judged.probabilities, temperature)
    score, rows = metric.score(judged.targets, probabilities), len(judged.rows)
    if metric.name == "accuracy":  # the variances of both add up, as if there were fewer rows
        both = rows * test_rows / (rows + test_rows)
        interval = share_interval(score, rows=both / effect)
    else:
        error = standard_error(metric, judged.targets, probabilities, seed=seed)
        reach = Z_95 * error * math.sqrt(effect * (1.0 + rows / test_rows))
        interval = (score - reach, min(score + reach, metric.highest))
    return Estimate(score=score, interval=interval, rows=rows, lower=lower)
