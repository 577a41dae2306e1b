"""One image file becomes the bytes that it shows, whatever kind of file it is."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.sources import ImageOptions
from tests.pictures import picture, write
from workers.decoding import Shape, Unreadable, decode, fitted, read_header
from workers.standalone import read_image

COLOURED, GREY = picture(1, 20, 20, 3), picture(2, 20, 20)
AS_IT_IS, AS_GREY = Shape(20, 20, 3), Shape(20, 20, 1)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_pixels_that_need_no_scaling_stay_as_they_are() -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(COLOURED)), AS_IT_IS), COLOURED)
    assert np.array_equal(decode(encoded(Image.fromarray(GREY)), AS_GREY)[..., 0], GREY)
    grey_as_colours = decode(encoded(Image.fromarray(GREY)), AS_IT_IS)
    assert np.array_equal(grey_as_colours, GREY[..., None].repeat(3, 2))


def test_kinds_of_pixels() -> None:
    image = Image.fromarray(COLOURED)
    palette = image.quantize(255)
    assert np.array_equal(decode(encoded(palette), AS_IT_IS), np.asarray(palette.convert("RGB")))
    cmyk = decode(encoded(image.convert("CMYK"), "JPEG", quality=98, subsampling=0), AS_IT_IS)
    assert np.abs(cmyk.astype(int) - COLOURED).mean() < 6
    bits = image.convert("1")
    assert np.array_equal(decode(encoded(bits), AS_GREY)[..., 0], np.asarray(bits) * 255)


def test_transparent_parts_are_white() -> None:
    alpha = np.full((20, 20, 1), 255, dtype=np.uint8)
    alpha[:10] = 0
    found = decode(encoded(Image.fromarray(np.concatenate([COLOURED, alpha], 2))), AS_IT_IS)
    assert (found[:10] == 255).all() and np.array_equal(found[10:], COLOURED[10:])
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha[..., 0])])
    assert (decode(encoded(grey), AS_GREY)[:10] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_colour_that_means_transparency_is_white(mode: str, tmp_path: Path) -> None:
    pixels = np.full((20, 20), 200, dtype=np.uint8)
    pixels[:10] = 0
    image = Image.fromarray(pixels).convert(mode)
    key = (0, 0, 0) if mode == "RGB" else 0
    file = tmp_path / "t.png"
    file.write_bytes(encoded(image, transparency=key))
    shape = AS_IT_IS if mode == "RGB" else AS_GREY
    found = decode(file, shape)
    assert (found[:10] == 255).all() and (found[10:] == (255 if mode == "1" else 200)).all()
    alone = read_image(file, image_shape=(20, 20, shape.channels))
    assert np.array_equal(alone, found)


@pytest.mark.parametrize(("largest", "of"), [(65535, 65535), (3000, 4095), (300, 511), (200, 255)])
def test_16_bits_are_scaled_by_the_bits_that_are_used(largest: int, of: int) -> None:
    values = np.linspace(0, largest, 400).reshape(20, 20).astype(np.uint16)
    found = decode(encoded(Image.fromarray(values)), AS_GREY)[..., 0]
    assert np.array_equal(found, np.rint(values * (255.0 / of)).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_turned_back(orientation: int, tmp_path: Path) -> None:
    shown = np.zeros((16, 32, 3), dtype=np.uint8)
    shown[:8, :16] = 255  # bright at the top left as it is to be looked at
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: shown.transpose(1, 0, 2)[::-1],
        7: shown.transpose(1, 0, 2)[::-1, ::-1],
        8: shown.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    file = encoded(image, "JPEG", exif=exif, quality=98)
    assert (read_header(file).height, read_header(file).width) == (16, 32)
    found = decode(file, Shape(16, 32, 1))[..., 0]
    assert np.abs(found.astype(int) - shown[..., 0]).max() < 30


def test_another_shape_is_covered_and_its_middle_cut_out() -> None:
    wide = np.zeros((40, 120, 3), dtype=np.uint8)
    wide[:, 40:80] = 200
    found = decode(encoded(Image.fromarray(wide)), Shape(20, 20, 3))
    assert (found[:, 1:-1] == 200).all()  # beside the cut, a border bleeds in
    tall = decode(encoded(Image.fromarray(wide.transpose(1, 0, 2))), Shape(20, 20, 3))
    assert (tall[1:-1] == 200).all()
    small = decode(encoded(Image.fromarray(np.full((5, 7), 9, np.uint8))), Shape(20, 20, 1))
    assert (small == 9).all()


@pytest.mark.parametrize("side", [7, 33, 64])
def test_every_size_can_be_scaled(side: int) -> None:
    for height in range(1, 200, 3):
        for width in (1, 2, 31, 32, 47, 63, 64, 65, 99, 150, 151):
            image = Image.new("L", (width, height), 9)
            assert (fitted(image, Shape(side, side, 1)) == 9).all()


def test_a_large_jpeg_looks_as_if_it_had_been_decoded_whole() -> None:
    gradient = np.linspace(0, 255, 640).astype(np.uint8)
    large = np.stack([np.broadcast_to(gradient, (640, 640))] * 3, 2)
    found = decode(encoded(Image.fromarray(large), "JPEG", quality=95), Shape(32, 32, 3))
    whole = Image.fromarray(large).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(found.astype(int) - np.asarray(whole)).max() <= 3


def test_formats_and_pixels_are_limited(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bmp", COLOURED)
    with pytest.raises(Unreadable) as refusal:
        decode(path, AS_IT_IS)
    assert refusal.value.reason == "format"
    allowed = ImageOptions(image_formats=("bmp",))
    assert np.array_equal(decode(path, AS_IT_IS, allowed), COLOURED)
    with pytest.raises(Unreadable) as refusal:
        read_header(path, ImageOptions(image_formats=("bmp",), max_pixels=399))
    assert refusal.value.reason == "pixels"
