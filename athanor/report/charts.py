"""Charts as SVG that stands within a page and takes the page's colours, light or dark."""

import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from athanor.leaderboard import COST_NAMES
from athanor.report.values import Calibration, Front
from search.attributes import Cost
from search.influence import Influence

WIDE, NARROW = (4.6, 3.0), (3.0, 2.4)  # inches
FEW = 3  # trials with a value, below which its dot is hollow

# What matplotlib draws with, and the page's variable that takes its place.
INK, GRID, PAPER = "#000101", "#000102", "#000103"
SERIES = tuple(f"#0001a{number}" for number in range(8))
VARIABLES = {
    INK: "var(--ink)",
    GRID: "var(--line)",
    PAPER: "var(--paper)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "athanor",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
HEAD = re.compile(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>')
LEFT_OUT = (  # what a page has itself, or would have many times
    re.compile(r"<metadata>.*?</metadata>", re.DOTALL),
    re.compile(r"<style.*?</style>", re.DOTALL),
    re.compile(r' id="[A-Za-z0-9]+_\d+"'),
    re.compile(r" font-family: [^;]*;"),
)
REM_AN_INCH = 6.0

Line = tuple[str, Sequence[tuple[int, float]]]


def lines_chart(lines: Iterable[Line], *, label: str, what: str) -> str:
    """Return a chart of named lines over epochs.

    Args:
        label: of the axis.
        what: the chart in words, for those who cannot see it.
    """
    with rc_context(STYLE):
        figure, axes = _new(WIDE)
        for number, (name, points) in enumerate(lines):
            colour = SERIES[number % len(SERIES)]
            marker = "o" if len(points) < 4 else None
            axes.plot(*zip(*points, strict=True), color=colour, label=name, marker=marker, ms=4)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        return _svg(figure, what)


def front_chart(front: Front, *, label: str) -> str:
    """Return all trials by cost and score, the front joined."""
    cost: Cost = front.cost  # type: ignore[assignment]
    names = {"beaten": "other trials", "front": "front", "chosen": "in the model"}
    with rc_context(STYLE):
        figure, axes = _new(WIDE)
        for number, (role, name) in enumerate(names.items()):
            points = [point for point in front.points if point.role == role]
            costs, scores = [p.cost for p in points], [p.score for p in points]
            colour = (SERIES[3], SERIES[0], SERIES[1])[number]
            axes.scatter(costs, scores, s=26, color=colour, label=name, zorder=3)
        best = sorted((p.cost, p.score) for p in front.points if p.role in ("front", "chosen"))
        if best:
            axes.step(*zip(*best, strict=True), where="post", color=SERIES[0], linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel(COST_NAMES[cost] + (" (seconds)" if cost == "latency" else ""))
        axes.set_ylabel(label)
        axes.legend()
        return _svg(figure, f"{label} against {front.cost} of {len(front.points)} trials")


def effect_chart(influence: Influence, *, limits: tuple[float, float]) -> str:
    """Return what to expect of each value of a hyperparameter; hollow: hardly any trial had it."""
    effects = influence.effects
    scores = [effect.score for effect in effects]
    numbers = influence.scale != "choice"
    places = [effect.value for effect in effects] if numbers else list(range(len(effects)))
    with rc_context(STYLE):
        figure, axes = _new(NARROW)
        axes.plot(places, scores, color=SERIES[0], linestyle="-" if numbers else "none")
        faces = [SERIES[0] if effect.trials >= FEW else PAPER for effect in effects]
        axes.scatter(places, scores, s=26, c=faces, edgecolors=SERIES[0], zorder=3)
        if numbers:
            axes.set_xscale(influence.scale)
            if all(isinstance(place, int) for place in places):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            _name_choices(axes, [str(effect.value) for effect in effects])
        axes.set_ylim(*limits)
        axes.set_title(influence.name)
        told = ", ".join(f"{e.value}: {e.score:.4f}" for e in effects)
        return _svg(figure, f"expected score by {influence.name}: {told}")


def effect_limits(influences: Iterable[Influence]) -> tuple[float, float]:
    """Return an axis on which all effects can be compared."""
    scores = [effect.score for each in influences for effect in each.effects]
    margin = 0.08 * (max(scores) - min(scores)) or 0.01
    return min(scores) - margin, max(scores) + margin


def reliability_chart(calibration: Calibration) -> str:
    """Return accuracy against confidence; dots are as large as the share of rows they stand for."""
    bins = calibration.bins
    with rc_context(STYLE):
        figure, axes = _new((3.4, 3.2))
        axes.plot((0, 1), (0, 1), color=GRID, linewidth=1)
        confidence = [each.confidence for each in bins]
        accuracy = [each.accuracy for each in bins]
        sizes = [12 + 160 * math.sqrt(each.rows / calibration.rows) for each in bins]
        axes.plot(confidence, accuracy, color=SERIES[0])
        axes.scatter(confidence, accuracy, s=sizes, color=SERIES[0], alpha=0.7, linewidths=0)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        axes.set_aspect("equal")
        return _svg(figure, f"reliability; expected calibration error {calibration.error:.4f}")


def _new(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.subplots()
    axes.patch.set_alpha(0.0)
    return figure, axes


def _name_choices(axes: Axes, names: list[str]) -> None:
    crowded = sum(map(len, names)) > 16
    axes.set_xticks(
        range(len(names)),
        names,
        rotation=30 if crowded else 0,
        ha="right" if crowded else "center",
    )
    axes.set_xlim(-0.5, len(names) - 0.5)


def _svg(figure: Figure, what: str) -> str:
    """Return the figure's SVG element with the page's colours, its words for screen readers."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for pattern in LEFT_OUT:
        drawn = pattern.sub("", drawn)
    for colour, variable in VARIABLES.items():
        drawn = drawn.replace(colour, variable)
    width = f"{figure.get_figwidth() * REM_AN_INCH:.1f}rem"
    head = f'<svg role="img" aria-label="{html.escape(what)}" style="max-width: {width}"'
    drawn = HEAD.sub(lambda found: f'{head} viewBox="{found[1]}">', drawn, count=1)
    return " ".join(drawn.split())
