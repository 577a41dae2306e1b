"""Trials compared by two things at once: accuracy, and what a network costs."""

import bisect
from collections.abc import Sequence


def layers(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return for each point (score, cost) on which front it is, from 0.

    No point of a front has another one of it that is at least as accurate and at most as costly;
    those of the next front would have none but for the fronts before (non-dominated sorting,
    N. Srinivas and K. Deb, Evolutionary Computation 2, 1994). Of equal points the first counts.
    Takes O(n log n) steps.
    """
    order = sorted(range(len(points)), key=lambda n: (points[n][1], -points[n][0], n))
    found = [0] * len(points)
    lacking: list[float] = []  # for each front its best score so far, negated: ascending
    for index in order:
        score = -points[index][0]
        layer = bisect.bisect_right(lacking, score)
        found[index] = layer
        lacking[layer : layer + 1] = [score]
    return found
