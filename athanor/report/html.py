"""A report as one HTML file that needs no network: its style, charts and pictures are within."""

import base64
import time
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from athanor.energy import WATT_HOUR
from athanor.progress import PHASES, clock_text
from athanor.report.charts import (
    Line,
    effect_chart,
    effect_limits,
    front_chart,
    lines_chart,
    reliability_chart,
)
from athanor.report.drawing import drawn_network
from athanor.report.encoding import Picture
from athanor.report.pictures import Gallery
from athanor.report.values import Report, Score
from search.metrics import score_text

MOST_EFFECTS = 8  # hyperparameters whose effects are drawn
CHARTS = ("scores", "losses", "fold_losses", "front", "reliability")
MOST_MAPS = 4  # pairs of hyperparameters
ENDINGS = {"bag": "mean of the folds' networks", "best": "best network", "refit": "refit"}


def render_html(report: Report, gallery: Gallery) -> str:
    """Return the page."""
    page = environment().get_template("report.html")
    return page.render(
        report=report,
        gallery=gallery,
        charts=_charts(report),
        drawing=None if report.winner is None else Markup(_drawing(report)),
        heat=_heat(report),
    )


def environment() -> Environment:
    """Return where the package's pages are, with filters for figures."""
    found = Environment(
        loader=PackageLoader("athanor"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "score": score_text,
        "scored": scored,
        "clock": clock_text,
        "count": count_text,
        "date": date_text,
        "source": picture_source,
        "value": value_text,
    }
    found.globals |= {"phases": PHASES, "endings": ENDINGS, "watt_hour": WATT_HOUR}
    return found


def scored(score: Score) -> str:
    """Write a score with its interval."""
    if score.low is None or score.high is None:
        return score_text(score.value)
    return f"{score_text(score.value)} ({score_text(score.low)} to {score_text(score.high)})"


def count_text(number: float | None) -> str:
    """Write a count for people: 75.3 k, 5.46 M."""
    if number is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def date_text(seconds: float) -> str:
    """Write a time in seconds since 1970 as day and minute, here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def value_text(value: Any) -> str:
    """Write a hyperparameter's value."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def picture_source(picture: Picture) -> str:
    """Return a picture as the address of itself."""
    return f"data:image/{picture.kind};base64,{base64.b64encode(picture.content).decode('ascii')}"


def _drawing(report: Report) -> str:
    assert report.winner is not None
    return drawn_network(report.winner.parts, report.protocol.image_shape)


def _charts(report: Report) -> dict[str, Any]:
    """Return every chart there is something for, by name."""
    found: dict[str, Any] = dict.fromkeys(CHARTS)
    found["effects"] = []
    label = report.protocol.label
    trials = [curve for curve in report.curves if curve.fold is None]
    folds = [curve for curve in report.curves if curve.fold is not None]
    of_trials = [(f"trial {c.trial}", c.score) for c in trials if c.score]
    losses = [(f"trial {c.trial}", c.loss) for c in trials if c.loss]
    of_folds = [(f"trial {c.trial}, fold {c.fold}", c.loss) for c in folds if c.loss]
    found |= _lines("scores", of_trials, label=f"validation {label}", what="best trials")
    found |= _lines("losses", losses, label="training loss", what="best trials")
    found |= _lines("fold_losses", of_folds, label="training loss", what="finalists")
    if report.front is not None and report.front.points:
        found["front"] = Markup(front_chart(report.front, label=label))
    if report.calibration is not None:
        found["reliability"] = Markup(reliability_chart(report.calibration))
    drawn = report.importance.parameters[:MOST_EFFECTS]
    if drawn:
        limits = effect_limits(drawn)
        found["effects"] = [Markup(effect_chart(each, limits=limits)) for each in drawn]
    return found


def _lines(name: str, lines: Sequence[Line], *, label: str, what: str) -> dict[str, Markup]:
    if not lines:
        return {}
    return {name: Markup(lines_chart(lines, label=label, what=f"{label} of the {what}"))}


def _heat(report: Report) -> tuple[float, float]:
    """Return the least and the largest score of all pairs of hyperparameters."""
    pairs = report.importance.interactions[:MOST_MAPS]
    scores = [score for pair in pairs for row in pair.scores for score in row]
    return (min(scores), max(scores)) if scores else (0.0, 1.0)
