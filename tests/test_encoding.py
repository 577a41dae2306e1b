"""Images of any size and number of channels become small pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from athanor.report.encoding import LARGEST_SIDE, filter_pixels, map_pixels, picture, veiled


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("side", [7, 28, 300])
def test_any_image_is_drawn_alone_and_with_what_is_seen(channels: int, side: int) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (side, side, channels), dtype=np.uint8)
    shown = picture(pixels, "words")
    image = Image.open(io.BytesIO(shown.content))
    assert max(image.size) == min(side, LARGEST_SIDE) and shown.caption == "words"
    if side <= LARGEST_SIDE:
        expected = pixels[..., 0] if channels < 3 else pixels[..., :3]
        assert (np.asarray(image) == expected).all()
    drawn = veiled(pixels, np.array([[0.0, 1.0], [0.0, 0.0]], dtype=np.float32))
    assert drawn.shape[2] == 3 and drawn.shape[0] >= max(side, 112)


def test_where_nothing_is_seen_the_image_stays() -> None:
    pixels = np.full((112, 112, 3), 200, dtype=np.uint8)
    assert (veiled(pixels, np.zeros((4, 4), dtype=np.float32)) == pixels).all()


def test_filters_are_white_where_they_are_nothing() -> None:
    drawn = filter_pixels(np.array([[[0.0, 1.0, -1.0]]], dtype=np.float32))
    nothing, above, below = drawn[0].astype(int)
    assert nothing.min() > 240 and above[0] > above[2] and below[0] < below[2]
    colours = filter_pixels(np.stack([np.eye(3), -np.eye(3), np.zeros((3, 3))]).astype(np.float32))
    assert colours[0, 0].tolist() == [255, 0, 128]


def test_a_map_without_differences_is_drawn() -> None:
    assert len(np.unique(map_pixels(np.full((2, 2), 3.0, dtype=np.float32)))) <= 3
