"""How much the best trial is flattered by the images that it was chosen by.

The best of many scores is partly the luckiest. So images are drawn again, many times: the trial
that is best on those drawn is judged on those that were not (bootstrap bias corrected
cross-validation; I. Tsamardinos, E. Greasidou and G. Borboudakis, Machine Learning 107, 2018).
"""

from collections.abc import Sequence

import numpy as np

from search.marks import Marks

DRAWS = 400


def score_of_a_choice(marks: Sequence[Marks], *, seed: int = 0) -> float | None:
    """Return the accuracy that the best trial has on images that did not choose it.

    Images of one group are drawn, and left out, together; every image counts alike, whatever the
    size of its group.

    Args:
        marks: which images each trial has right.

    None unless there are two trials at least, all judged on the same number of images.
    """
    if len(marks) < 2 or len({len(each.right) for each in marks}) > 1:
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
