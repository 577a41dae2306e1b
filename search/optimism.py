"""How much the best trial is flattered by the images that it was chosen by.

The best of many scores is partly the luckiest. So images are drawn again, many times: the trial
that is best on those drawn is judged on those that were not (bootstrap bias corrected
cross-validation; I. Tsamardinos, E. Greasidou and G. Borboudakis, Machine Learning 107, 2018).
"""

from collections.abc import Sequence

import numpy as np

from search.draws import Draws
from search.marks import Marks
from search.pairing import Judged

DRAWS = 400


def score_of_a_choice(judged: Sequence[Judged], *, seed: int = 0) -> float | None:
    """Return the score that the best of some trials has on images that did not choose it.

    None unless there are two trials at least, all judged on the same number of images.
    """
    marks = [each for each in judged if isinstance(each, Marks)]
    draws = [each for each in judged if isinstance(each, Draws)]
    if len(judged) < 2 or (marks and draws):
        return None
    return _of_marks(marks, seed=seed) if marks else _of_draws(draws)


def _of_draws(draws: Sequence[Draws]) -> float | None:
    """Return the score, on rows that were not drawn, of the trial that is best on those drawn.

    Of the rows that a draw leaves out there is no score, but by as much as its own is above that of
    all rows, theirs is below it, but for chance: they are the rest of the same rows.
    """
    if len({len(each.scores) for each in draws}) > 1:
        return None
    own = np.array([each.score for each in draws])
    drawn = np.stack([each.scores for each in draws])
    drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
    if not drawn.shape[1]:
        return None
    best = drawn.argmax(axis=0)
    above = drawn[best, np.arange(drawn.shape[1])] - own[best]
    return float((own[best] - above).mean())


def _of_marks(marks: Sequence[Marks], *, seed: int) -> float | None:
    """Return the accuracy of the best trial on images that did not choose it.

    Images of one group are drawn, and left out, together; every image counts alike, whatever the
    size of its group.
    """
    if len({len(each.right) for each in marks}) > 1:
        return None
    scores = np.stack([each.right for each in marks]).astype(np.float64)
    known = [each.groups for each in marks if each.groups is not None]
    unit = np.unique(known[0], return_inverse=True)[1] if known else np.arange(scores.shape[1])
    count = int(unit.max()) + 1
    random, hits, judged = np.random.default_rng(seed), 0.0, 0
    for _ in range(DRAWS):
        times = np.bincount(random.integers(0, count, count), minlength=count)[unit]
        left_out = times == 0
        right_drawn = scores @ times  # whole numbers; chance decides among equal ones
        best = int((right_drawn + random.uniform(0.0, 0.5, len(scores))).argmax())
        hits += float(scores[best, left_out].sum())
        judged += int(left_out.sum())
    return hits / judged if judged else None
