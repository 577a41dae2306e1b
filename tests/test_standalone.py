"""The script that goes with a model reads image files as the training does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.standalone import read_image


def odd_images(folder: Path) -> list[Path]:
    """Write images of many kinds; return their paths."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (21, 34, 4), dtype=np.uint8)
    kinds: dict[str, Image.Image] = {
        "grey.png": Image.fromarray(noise[..., 0]),
        "colour.png": Image.fromarray(noise[..., :3]),
        "clear.png": Image.fromarray(noise, "RGBA"),
        "grey-clear.png": Image.fromarray(noise[..., :2], "LA"),
        "bits.png": Image.fromarray(noise[..., 0]).convert("1"),
        "palette.png": Image.fromarray(noise[..., :3]).convert("P"),
        "cmyk.jpg": Image.fromarray(noise, "CMYK"),
        "wide.png": Image.fromarray(noise[..., 0].astype(np.uint16) * 13),
        "large.jpg": Image.fromarray(noise[..., :3]).resize((640, 480)),
        "large-wide.png": Image.fromarray(np.kron(noise[..., 0], np.full((9, 9), 40, np.uint16))),
    }
    for name, image in kinds.items():
        image.save(folder / name)
    for name in ("grey.png", "colour.png"):  # one colour means transparency
        key = kinds[name].getpixel((3, 3))
        kinds[name].save(folder / f"key-{name}", transparency=key)
    turned = Image.Exif()
    for orientation in (3, 6):
        turned[0x0112] = orientation
        kinds["colour.png"].save(folder / f"turned-{orientation}.jpg", exif=turned)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 12, 3), (64, 80, 3)])
def test_the_script_reads_images_as_the_training_does(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    decoding = pytest.importorskip("workers.decoding")
    for path in odd_images(tmp_path):
        expected = decoding.decode(path, decoding.Shape(*shape))
        np.testing.assert_array_equal(read_image(path, image_shape=shape), expected, str(path))
