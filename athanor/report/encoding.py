"""Arrays as small encoded images: pixels as they are, maps and filters in colours."""

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = 3  # channels of an image that are shown, if it has so many
LARGEST_SIDE = 128  # pixels of a picture; larger images are made smaller
SEEN_SIDE = 112  # pixels of an image with what is seen on it, at least
VEIL = 0.65  # how much of an image its class map hides where it is highest
PALETTES = {"maps": "viridis", "filters": "RdBu_r", "seen": "magma"}


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image, and what is written below it."""

    content: bytes
    kind: str
    caption: str


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures that belong together."""

    title: str
    pictures: tuple[Picture, ...]


def picture(pixels: NDArray[np.uint8], caption: str) -> Picture:
    """Encode an image (height, width, channels): PNG, or JPEG where it is large."""
    shown = pixels[..., 0] if pixels.shape[-1] < COLOURS else pixels[..., :COLOURS]
    image = Image.fromarray(np.ascontiguousarray(shown))
    kind = "png"
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        kind = "jpeg"
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Picture(buffer.getvalue(), kind, caption)


def filter_pixels(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a filter (channels, height, width) as colours: 0 is the middle."""
    largest = float(np.abs(weights).max()) or 1.0
    scaled = 0.5 + weights / (2.0 * largest)
    if len(weights) == 3:
        return _bytes(scaled.transpose(1, 2, 0))
    return _coloured(scaled.mean(0), "filters")


def map_pixels(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a map (height, width) as colours, from its least value to its largest."""
    low, high = float(maps.min()), float(maps.max())
    return _coloured((maps - low) / ((high - low) or 1.0), "maps")


def veiled(image: NDArray[np.uint8], seen: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image with colours where a class is seen, from 0 to the map's largest value."""
    times = max(1, -(-SEEN_SIDE // max(image.shape[:2])))
    large = image.repeat(times, 0).repeat(times, 1)
    largest = float(seen.max()) or 1.0
    size = (large.shape[1], large.shape[0])
    share = np.asarray(Image.fromarray(seen / largest).resize(size, Image.Resampling.BILINEAR))
    colours = _coloured(share, "seen").astype(np.float32)
    grey = large.shape[2] < COLOURS
    base = large[..., :1].repeat(COLOURS, 2) if grey else large[..., :COLOURS]
    veil = VEIL * share[..., None]
    return _bytes((base * (1.0 - veil) + colours * veil) / 255.0)


def _coloured(shares: NDArray[np.floating[Any]], palette: str) -> NDArray[np.uint8]:
    """Return (height, width, 3) colours of shares from 0 to 1."""
    return _bytes(_colour_map(PALETTES[palette])(shares)[..., :3])


@cache
def _colour_map(name: str) -> Any:
    from matplotlib import colormaps

    return colormaps[name]


def _bytes(shares: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.clip(np.rint(shares * 255.0), 0, 255).astype(np.uint8)
    return found
