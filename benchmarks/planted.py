"""Faults that are planted into images, so that it can be counted how many are found."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

KINDS = ("exact", "re-encoded", "shifted", "brightened")
SHIFTS = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]  # pixels


def planted(
    images: Pixels, count: int, *, seed: int
) -> tuple[Pixels, list[tuple[int, int]], list[str]]:
    """Append copies of grey images (rows, height, width), so many of each kind.

    Returns the images, and for each copy the pair of its original's row and its own, and its kind.
    """
    random = np.random.default_rng(seed)
    rows = random.choice(len(images), count * len(KINDS), replace=False)
    kinds = [kind for kind in KINDS for _ in range(count)]
    copies = [altered(images[row], kind, random) for row, kind in zip(rows, kinds, strict=True)]
    pairs = [(int(row), len(images) + place) for place, row in enumerate(rows)]
    return np.concatenate([images, np.stack(copies)]), pairs, kinds


def altered(image: Pixels, kind: str, random: np.random.Generator) -> Pixels:
    """Return a copy: equal; as a JPEG of quality 70 to 95; moved by 1 or 2 pixels; brightened.

    Brighter is 1.1 to 1.5 times, or 15 to 50 grey levels more, cut off at white.
    """
    if kind == "re-encoded":
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=int(random.integers(70, 96)))
        return np.asarray(Image.open(file))
    if kind == "shifted":
        down, right = SHIFTS[random.integers(len(SHIFTS))]
        padded = np.pad(image, 2)
        height, width = image.shape
        return padded[2 - down : 2 - down + height, 2 - right : 2 - right + width]
    if kind == "brightened":
        plain = image.astype(np.float64)
        more = plain + random.integers(15, 51)
        brighter = plain * random.uniform(1.1, 1.5) if random.random() < 0.5 else more
        return np.clip(np.rint(brighter), 0, 255).astype(np.uint8)
    return image


def with_wrong_labels(
    labels: NDArray[np.int64], share: float, *, classes: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels of which a share is another class, at random, and their rows."""
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(len(labels), round(share * len(labels)), replace=False))
    wrong: NDArray[Any] = labels.copy()
    wrong[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    return wrong, rows
