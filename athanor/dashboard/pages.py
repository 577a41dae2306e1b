"""Our own pages, from the templates beside this file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from athanor.doings import doing_text, spread
from athanor.progress import clock_text
from search.metrics import score_text

HERE = Path(__file__).parent
CURVE_WIDTH, CURVE_HEIGHT = 160.0, 36.0
MOST_POINTS = 80

pages = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **context: Any) -> str:
    """Return a page."""
    return pages.get_template(template).render(context)


def curve_points(values: list[float]) -> str:
    """Return values, evenly spaced, as the points of an SVG polyline; "" if they make no line."""
    if len(values) < 2:
        return ""
    kept = spread(values, MOST_POINTS)
    low, high = min(kept), max(kept)
    step = CURVE_WIDTH / (len(kept) - 1)
    reach = (high - low) or 1.0
    heights = [CURVE_HEIGHT * (1.0 - (value - low) / reach) for value in kept]
    return " ".join(f"{step * place:.1f},{height:.1f}" for place, height in enumerate(heights))


def size_text(parameters: int | None) -> str:
    """Write a number of parameters for people."""
    if parameters is None:
        return ""
    return f"{parameters / 1e6:.2f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"


pages.filters.update(
    clock=clock_text,
    score=score_text,
    doing=doing_text,
    points=curve_points,
    size=size_text,
)
