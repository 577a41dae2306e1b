"""Which images are nearly equal: saved anew, shifted by a pixel or two, made brighter.

Each image is described by the roots of the amplitudes of its low spatial frequencies, which a shift
hardly changes (P. D. Welch's periodogram, without its phases). The most alike by that are looked at
themselves, as data sets such as Fashion-MNIST are full of images that are merely alike: at the
shift where they fit best, two images must correlate almost wholly, or their details must, a
difference of two Gaussians. What remains may differ in brightness, contrast and compression.

The search compares all with all: its time grows with the square of the images, 70,000 of 28×28 take
about a minute on two cores. From `MOST_IMAGES` on only a random part of them is compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_IMAGES = 100_000  # that are compared with each other
SIDE = 28  # pixels: larger images are averaged down to about this for the comparison
FREQUENCIES = 7  # lowest ones of each direction that describe an image
CANDIDATES = 6  # the most alike of each image, which are looked at
GROUP = 64  # columns whose largest is looked at first
ROWS_AT_ONCE = 512
PAIRS_AT_ONCE = 8192
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
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        part = images[rows[begin : begin + ROWS_AT_ONCE], :height, :width]
        cut = part.reshape(len(part), height // by, by, width // by, by, part.shape[-1])
        out[begin : begin + ROWS_AT_ONCE] = cut.mean(axis=(2, 4, 5), dtype=np.float32)
    return out


def _described(small: Floats) -> Floats:
    """Return a unit vector (rows, features) for each image."""
    parts = []
    for begin in range(0, len(small), PAIRS_AT_ONCE):
        part = small[begin : begin + PAIRS_AT_ONCE]
        amplitudes = np.abs(np.fft.rfft2(part - part.mean(axis=(1, 2), keepdims=True)))
        columns = amplitudes[:, :, :FREQUENCIES]
        low = np.concatenate([columns[:, :FREQUENCIES], columns[:, 1 - FREQUENCIES :]], axis=1)
        parts.append(np.sqrt(low.reshape(len(part), -1)))
    features = np.concatenate(parts).astype(np.float32)
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
    space = np.empty((ROWS_AT_ONCE, len(padded)), dtype=np.float32)
    found = []
    for begin in range(0, count, ROWS_AT_ONCE):
        own = np.arange(begin, min(begin + ROWS_AT_ONCE, count))
        alike = np.matmul(features[own], columns, out=space[: len(own)])
        alike[:, count:] = -2.0
        alike[np.arange(len(own)), own] = -2.0
        found.append((np.repeat(own, wanted), _largest(alike, wanted).ravel()))
        progress((begin + len(own)) / count)
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
    for begin in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[begin : begin + PAIRS_AT_ONCE]
        shifts, alike = _best_shifts(spectra[part[:, 0]], spectra[part[:, 1]], small.shape[1:])
        for down, right in np.unique(shifts, axis=0):
            at = np.flatnonzero((shifts == (down, right)).all(axis=1) & (alike >= MAYBE))
            one, other = part[at].T
            whole = _correlation(*_overlap(small[one], small[other], down, right))
            fine = _correlation(*_overlap(details[one], details[other], down, right))
            same[begin + at] = (whole >= WHOLE) | (fine >= DETAILS)
    return same


def _spectra(small: Floats) -> NDArray[np.complex64]:
    """Return the transforms of images without their means, scaled to a length of 1."""
    plain = small - small.mean(axis=(1, 2), keepdims=True)
    plain /= np.sqrt((plain**2).sum(axis=(1, 2), keepdims=True))
    spectra: NDArray[np.complex64] = np.fft.rfft2(plain).astype(np.complex64)
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
    from scipy.ndimage import gaussian_filter

    details = gaussian_filter(images, (0.0, FINE, FINE), mode="nearest")
    details -= gaussian_filter(images, (0.0, COARSE, COARSE), mode="nearest")
    return np.asarray(details, dtype=np.float32)


def _correlation(one: Floats, other: Floats) -> NDArray[Any]:
    """Return the correlation (n,) of pixels of images (n, height, width)."""
    first, second = (each - each.mean(axis=(1, 2), keepdims=True) for each in (one, other))
    product = (first * second).sum(axis=(1, 2))
    scale = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
    correlation: NDArray[Any] = product / np.maximum(scale, 1e-6)
    return correlation
