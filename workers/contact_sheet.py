"""A picture of the rows that findings are about."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from workers.files import write_atomically
from workers.preflight import Finding, Preflight

TILE, GAP, LINE = 72, 6, 14  # pixels
COLUMNS = 12  # tiles of a row
WIDTH = COLUMNS * (TILE + GAP) + GAP
CAPTION = 12  # characters below a tile


def write_sheet(path: Path, preflight: Preflight, findings: Sequence[Finding]) -> None:
    """Write a PNG with up to a row of examples for each finding that has any; at once."""
    shown = [finding for finding in findings if finding.examples]
    height = GAP + (len(shown) * (2 * LINE + TILE + 2 * GAP) or LINE + GAP)
    sheet = Image.new("RGB", (WIDTH, height), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    if not shown:
        draw.text((GAP, GAP), "nothing to show", fill="black")
    for finding in shown:
        draw.text((GAP, top), _plain(finding.said), fill="black")
        left = GAP
        for rows in finding.examples:
            if left + len(rows) * TILE > WIDTH:
                break
            for row in rows:
                sheet.paste(_tile(preflight, row), (left, top + LINE))
                caption = _plain(preflight.label(row))[:CAPTION]
                draw.text((left, top + LINE + TILE), caption, fill="black")
                left += TILE
            left += GAP
        top += 2 * LINE + TILE + 2 * GAP
    content = io.BytesIO()
    sheet.save(content, "PNG")
    write_atomically(path.absolute(), content.getvalue())


def _tile(preflight: Preflight, row: int) -> Image.Image:
    pixels = preflight.image(row)
    image = Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    )
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST).convert("RGB")


def _plain(text: str) -> str:
    """The built-in font knows Latin letters alone."""
    return text.encode("latin-1", "replace").decode("latin-1")
