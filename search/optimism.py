"""How much the best trial is flattered by the images that it was chosen by.

The best of many scores is partly the luckiest. So images are drawn again, many times: the trial
that is best on those drawn is judged on those that were not (bootstrap bias corrected
cross-validation; I. Tsamardinos, E. Greasidou and G. Borboudakis, Machine Learning 107, 2018).
"""

from collections.abc import Sequence

import numpy as np

from search.pairing import unpacked

DRAWS = 400


def score_of_a_choice(right: Sequence[str], *, seed: int = 0) -> float | None:
    """Return the accuracy that the best trial has on images that did not choose it.

    Args:
        right: which images each trial has right, as `search.pairing.packed` writes it.

    None unless there are two trials at least, all judged on the same number of images.
    """
    found = [unpacked(text) for text in right]
    if len(found) < 2 or len({len(each) for each in found}) > 1:
        return None
    scores = np.stack(found).astype(np.float64)
    rows = scores.shape[1]
    random, judged = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(0, rows, rows), minlength=rows)
        left_out = times == 0
        if left_out.any():
            right_drawn = scores @ times  # whole numbers; chance decides among equal ones
            best = int((right_drawn + random.uniform(0.0, 0.5, len(scores))).argmax())
            judged.append(float(scores[best, left_out].mean()))
    return float(np.mean(judged)) if judged else None
