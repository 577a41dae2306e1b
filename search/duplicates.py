"""Which images are nearly equal: saved anew, shifted by a pixel or two, made brighter.

Each image is described by the roots of the amplitudes of its low spatial frequencies, which a shift
hardly changes (P. D. Welch's periodogram, without its phases). The most alike by that are looked at
themselves, as data sets such as Fashion-MNIST are full of images that are merely alike: at the
shift where they fit best, two images must correlate almost wholly, or their details must, a
difference of two Gaussians. What remains may differ in brightness, contrast and compression.

The search compares all with all: its time grows with the square of the images, 70,000 of 28×28 take
a quarter of a minute on two cores. From `MOST_IMAGES` on only a random part of them is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.in_parts import all_parts, in_parts
from search.machine import usable_cores

MOST_IMAGES = 100_000  # that are compared with each other
SIDE = 28  # pixels: larger images are averaged down to about this for the comparison
FREQUENCIES = 7  # lowest ones of each direction that describe an image
CANDIDATES = 6  # the most alike of each image, which are looked at
GROUP = 64  # columns whose largest is looked at first
ROWS_AT_ONCE = 512  # of all cores together: each row is compared with all others
LEAST_ROWS = 32  # of a core
PAIRS_AT_ONCE = 4096
SHIFTS = 2  # pixels in each direction
WHOLE = 0.9985  # correlation of two images from which they are one
MAYBE = 0.9  # correlation, borders wrapped around, from which two images are looked at closely
DETAILS = 0.990  # correlation of their details from which they are
FINE, COARSE = 0.6, 2.0  # pixels: deviations of the two Gaussians
LEAST_DEVIATION = 2.0  # of an image's pixels, below which it has nothing to be compared by

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of images that are nearly equal.

    Attributes:
        pairs: (n, 2) rows, the lower one first, each pair once.
        compared: how many images were compared with each other.
    """

    pairs: Rows
    compared: int


def near_duplicates(
    *parts: Images,
    rows: Rows | None = None,
    progress: Callable[[float], None] = lambda _: None,
    seed: int = 0,
) -> NearDuplicates:
    """Find the nearly equal among images (rows, height, width, channels).

    Args:
        parts: of one shape; their rows are numbered through. They may be larger than memory.
        rows: those that are looked at; by default all.
        progress: told the share that is done.
        seed: of the choice of those that are compared, where there are too many.
    """
    rows = np.arange(sum(map(len, parts))) if rows is None else rows
    if len(rows) > MOST_IMAGES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_IMAGES, replace=False))
    begins = np.cumsum([0, *map(len, parts)])
    chosen = [rows[(rows >= b) & (rows < e)] - b for b, e in pairwise(begins)]
    small = np.concatenate([_small(part, own) for part, own in zip(parts, chosen, strict=True)])
    telling = np.flatnonzero(small.std(axis=(1, 2)) >= LEAST_DEVIATION)
    small, rows = small[telling], rows[telling]
    if len(rows) < 2:
        return NearDuplicates(np.empty((0, 2), dtype=np.int64), len(rows))
    pairs = _most_alike(_described(small), progress)
    found = pairs[_same(small, pairs)]
    return NearDuplicates(rows[found], len(rows))


def _small(images: Images, rows: Rows) -> Floats:
    """Return images as grey (rows, height, width), averaged down to about `SIDE` pixels."""
    by = max(1, round(min(images.shape[1:3]) / SIDE))
    height, width = (side // by * by for side in images.shape[1:3])
    out = np.empty((len(rows), height // by, width // by), dtype=np.float32)

    def average(part: slice) -> None:
        read = images[rows[part], :height, :width]
        cut = read.reshape(len(read), height // by, by, width // by, by, read.shape[-1])
        out[part] = cut.mean(axis=(2, 4, 5), dtype=np.float32)

    all_parts(average, len(rows), size=ROWS_AT_ONCE)
    return out


def _described(small: Floats) -> Floats:
    """Return a unit vector (rows, features) for each image."""

    def describe(part: slice) -> Floats:
        plain = small[part] - small[part].mean(axis=(1, 2), keepdims=True)
        columns = np.abs(np.fft.rfft2(plain))[:, :, :FREQUENCIES]
        low = np.concatenate([columns[:, :FREQUENCIES], columns[:, 1 - FREQUENCIES :]], axis=1)
        roots: Floats = np.sqrt(low.reshape(len(plain), -1)).astype(np.float32)
        return roots

    features = np.concatenate(all_parts(describe, len(small), size=PAIRS_AT_ONCE))
    features /= np.linalg.norm(features, axis=1, keepdims=True) + 1e-12
    features -= features.mean(axis=0)
    unit: Floats = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-12)
    return unit


def _most_alike(features: Floats, progress: Callable[[float], None]) -> Rows:
    """Return pairs (n, 2), the lower row first: each image with those most alike to it."""
    count = len(features)
    padded = np.zeros((-(-count // GROUP) * GROUP, features.shape[1]), dtype=np.float32)
    padded[:count] = features
    columns, wanted = np.ascontiguousarray(padded.T), min(CANDIDATES, count - 1)

    def compare(part: slice) -> tuple[Rows, Rows]:
        own = np.arange(part.start, part.stop)
        alike = features[part] @ columns
        alike[:, count:] = -2.0
        alike[np.arange(len(own)), own] = -2.0
        return np.repeat(own, wanted), _largest(alike, wanted).ravel()

    found = []
    for done, pairs in in_parts(
        compare, count, size=max(LEAST_ROWS, ROWS_AT_ONCE // usable_cores())
    ):
        found.append(pairs)
        progress(done / count)
    first, second = (np.concatenate(each) for each in zip(*found, strict=True))
    codes = np.unique(np.minimum(first, second) * count + np.maximum(first, second))
    return np.stack([codes // count, codes % count], axis=1)


def _largest(values: Floats, count: int) -> Rows:
    """Return the columns (rows, count) of each row's largest values.

    They are among the groups of columns with the largest maxima, so few are looked at.
    """
    groups = values.reshape(len(values), GROUP, -1)  # a group's columns lie far apart
    spread = groups.shape[2]
    chosen = np.arange(spread)[None].repeat(len(values), 0)
    if spread > count:
        chosen = np.argpartition(-groups.max(axis=1), count - 1, axis=1)[:, :count]
    columns = (chosen[:, :, None] + np.arange(GROUP) * spread).reshape(len(values), -1)
    within = np.take_along_axis(values, columns, axis=1)
    best = np.argpartition(-within, count - 1, axis=1)[:, :count]
    largest: Rows = np.take_along_axis(columns, best, axis=1)
    return largest


def _same(small: Floats, pairs: Rows) -> NDArray[np.bool_]:
    """Return which pairs (n,) are one image, seen twice."""
    spectra, details = _spectra(small), _details(small)
    same = np.zeros(len(pairs), dtype=bool)

    def look(part: slice) -> None:
        one, other = pairs[part].T
        shifts, alike = _best_shifts(spectra[one], spectra[other], small.shape[1:])
        for down, right in np.unique(shifts, axis=0):
            at = np.flatnonzero((shifts == (down, right)).all(axis=1) & (alike >= MAYBE))
            whole, fine = (
                _correlation(*_overlap(images[one[at]], images[other[at]], down, right))
                for images in (small, details)
            )
            same[part.start + at] = (whole >= WHOLE) | (fine >= DETAILS)

    all_parts(look, len(pairs), size=PAIRS_AT_ONCE)
    return same


def _spectra(small: Floats) -> NDArray[np.complex64]:
    """Return the transforms of images without their means, scaled to a length of 1."""
    spectra = np.empty((*small.shape[:2], small.shape[2] // 2 + 1), dtype=np.complex64)

    def transform(part: slice) -> None:
        plain = small[part] - small[part].mean(axis=(1, 2), keepdims=True)
        plain /= np.sqrt((plain**2).sum(axis=(1, 2), keepdims=True))
        spectra[part] = np.fft.rfft2(plain)

    all_parts(transform, len(small), size=PAIRS_AT_ONCE)
    return spectra


def _best_shifts(
    one: NDArray[np.complex64], other: NDArray[np.complex64], size: tuple[int, ...]
) -> tuple[Rows, Floats]:
    """Return the shifts (n, 2) at which images correlate most, by their spectra, and how much.

    Images of few pixels are moved less far, so that something of them is left to be compared.
    """
    down, right = (np.arange(-most, most + 1) for most in _most_shifts(size))
    product = one * other.conj()
    columns = np.fft.ifft(product, axis=1)[:, down]
    window = np.fft.irfft(columns, n=size[1], axis=2)[:, :, right].reshape(len(one), -1)
    place = window.argmax(axis=1)
    shifts = np.stack([down[place // len(right)], right[place % len(right)]], axis=1)
    return shifts, window.max(axis=1)


def _most_shifts(size: tuple[int, ...]) -> list[int]:
    return [min(SHIFTS, (side - 1) // 2) for side in size]


def _overlap(one: Floats, other: Floats, down: int, right: int) -> tuple[Floats, Floats]:
    """Cut what two stacks of images share if the other ones are moved by a shift."""
    height, width = one.shape[1:]
    top, left = max(0, down), max(0, right)
    bottom, end = height + min(0, down), width + min(0, right)
    return (
        one[:, top:bottom, left:end],
        other[:, top - down : bottom - down, left - right : end - right],
    )


def _details(images: Floats) -> Floats:
    """Return images without what changes slowly within them."""
    from scipy.ndimage import gaussian_filter

    details = np.empty_like(images)

    def filtered(part: slice) -> None:
        fine = gaussian_filter(images[part], (0.0, FINE, FINE), mode="nearest")
        coarse = gaussian_filter(images[part], (0.0, COARSE, COARSE), mode="nearest")
        np.subtract(fine, coarse, out=details[part])

    all_parts(filtered, len(images), size=PAIRS_AT_ONCE)
    return details


def _correlation(one: Floats, other: Floats) -> NDArray[Any]:
    """Return the correlation (n,) of pixels of images (n, height, width)."""
    first, second = (each - each.mean(axis=(1, 2), keepdims=True) for each in (one, other))
    product = (first * second).sum(axis=(1, 2))
    scale = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
    correlation: NDArray[Any] = product / np.maximum(scale, 1e-6)
    return correlation
