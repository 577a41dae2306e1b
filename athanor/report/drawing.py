"""A network drawn: its parts in a row, as high as their maps and as wide as they have channels."""

import html
import math
from collections.abc import Sequence

from athanor.report.values import Part

HEIGHT, GAP, LEAST = 110.0, 10.0, 9.0  # in units of the drawing
NARROWEST, BY_DOUBLING = 10.0, 6.0  # width of a box, and by which it grows with its channels
KINDS = {"stem": 1, "stage": 0, "head": 2}  # series whose colour a part has


def drawn_network(parts: Sequence[Part], image_shape: tuple[int, int, int]) -> str:
    """Return an SVG element; every box has its part's figures as a tooltip."""
    side = max(image_shape[:2])
    image = f"image {_shape_text(image_shape)}"
    boxes, right = [_box(0.0, image, share=1.0, kind=3)], NARROWEST + GAP
    for part in parts:
        kind = KINDS.get(part.name.split()[0], 0)
        maps = max(part.shape[1:]) if len(part.shape) == 3 else 1
        width = NARROWEST + BY_DOUBLING * math.log2(max(part.shape[0], 1))
        if "pooling" in part.what and part.parameters == 0 and part.name != "head":
            width, kind = NARROWEST, 3
        told = (
            f"{part.name}: {part.what}; {_shape_text(part.shape)}, "
            f"{part.parameters:,} parameters, {part.macs:,} MACs"
        )
        boxes.append(_box(right, told, share=maps / side, kind=kind, width=width))
        boxes.append(_label(right + width / 2, part))
        right += width + GAP
    words = html.escape("network: " + "; ".join(f"{p.name} {p.what}" for p in parts))
    return (
        f'<svg role="img" aria-label="{words}" viewBox="0 0 {right:.0f} {HEIGHT + 26:.0f}" '
        f'style="max-width: {right / 12:.0f}rem">{"".join(boxes)}</svg>'
    )


def _box(left: float, told: str, *, share: float, kind: int, width: float = NARROWEST) -> str:
    height = max(LEAST, HEIGHT * math.sqrt(share))
    return (
        f'<rect x="{left:.1f}" y="{(HEIGHT - height) / 2:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="2" style="fill: var(--series-{kind})">'
        f"<title>{html.escape(told)}</title></rect>"
    )


def _label(middle: float, part: Part) -> str:
    size = f"{part.shape[1]}x{part.shape[2]}" if len(part.shape) == 3 else ""
    lines = (str(part.shape[0]), size)
    return "".join(
        f'<text x="{middle:.1f}" y="{HEIGHT + 11 + 11 * number:.0f}" text-anchor="middle" '
        f'style="font-size: 8px; fill: var(--ink)">{line}</text>'
        for number, line in enumerate(lines)
        if line
    )


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
