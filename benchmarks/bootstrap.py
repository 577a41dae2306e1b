"""Intervals by resampling, for figures that are means over seeds and test images."""

import numpy as np
from numpy.typing import NDArray

SAMPLES = 2000
COVERED = (2.5, 97.5)  # percentiles: a 95 % interval


def interval_of_mean(
    values: NDArray[np.floating], *, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the mean of (seeds, images), both drawn with replacement.

    Images are drawn once a sample for all seeds, as they share the test set. For a difference of
    two arms pass the differences of each seed and image: what is hard for both then cancels out.
    Of two or three seeds the part that is theirs is but the span between them, which holds the mean
    of all seeds every second time, or three times in four.
    """
    seeds, images = values.shape
    random = np.random.default_rng(seed)
    means = np.empty(samples)
    for index in range(samples):
        drawn = random.integers(0, seeds, seeds)
        counts = np.bincount(random.integers(0, images, images), minlength=images)
        means[index] = (values[drawn] @ counts).mean() / images
    low, high = np.percentile(means, COVERED)
    return float(low), float(high)
