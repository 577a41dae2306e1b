"""Small image files for tests."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def picture(seed: int, *shape: int) -> Pixels:
    """Return pixels that have structure: blocks of four by four, random."""
    height, width = shape[:2]
    blocks = np.random.default_rng(seed).integers(
        0, 256, (-(-height // 4), -(-width // 4), *shape[2:]), dtype=np.uint8
    )
    return blocks.repeat(4, 0).repeat(4, 1)[:height, :width]


@cache
def photos() -> list[Pixels]:
    """Return tiles of 56 by 56 pixels of scikit-learn's two photographs, no two of one place."""
    from sklearn.datasets import load_sample_images

    side = 56
    tiles = [
        image[top : top + side, left : left + side]
        for image in load_sample_images().images
        for top in range(0, image.shape[0] - side, side)
        for left in range(0, image.shape[1] - side, side)
    ]
    return sorted(tiles, key=lambda tile: -float(tile.std()))  # the sky is too much the same


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:
    """Write an image file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_classes(root: Path, *, rows: int = 10, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Write PNG files of 12 by 12 pixels in class folders, all different."""
    for label, name in enumerate(names):
        for row in range(rows):
            write(root / name / f"{row:02d}.png", picture(100 * label + row, 12, 12, 3))
    return root
