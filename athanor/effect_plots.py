"""A picture of influences: what to expect of one parameter's values, and of two parameters'."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from search.effects import Interaction
from search.influence import Influence, Influences
from spaces.errors import InputError

COLUMNS = 4
ONE_WAY, TWO_WAY = 8, 4  # that are drawn at most, the most influential ones
PANEL = 3.1  # inches, wide and high
DPI = 120
FEW = 3  # trials with a value, below which its dot is hollow: little is known of it
WORST = 5.0  # per cent of the trials, the worst, that the axis may leave out
TRIALS, EXPECTED = "0.6", "C3"  # colours
FORMATS = (".svg", ".png", ".pdf")


def draw_effects(found: Influences, path: Path) -> None:
    """Write a picture: the trials and the expected score over each parameter; pairs as maps.

    The expected score of a value is the average, over all trials, of what a model of them expects
    with this value in the place of theirs (partial dependence; J. Friedman, Annals of Statistics
    29(5), 2001). A hollow dot is a value that hardly any trial had.

    Raises:
        InputError: the file's name ends otherwise than a format that can be written, or its
            folder is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"a plot must be one of {', '.join(FORMATS)}, but got {path.name!r}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"a plot's folder must exist, but there is no {path.absolute().parent}")
    single, pairs = found.parameters[:ONE_WAY], found.interactions[:TWO_WAY]
    columns = min(COLUMNS, max(len(single), len(pairs)))
    upper, lower = math.ceil(len(single) / columns), math.ceil(len(pairs) / columns)
    figure = Figure(figsize=(PANEL * columns, PANEL * (upper + lower)), layout="constrained")
    figure.suptitle(f"expected {found.target} score, by a model of {found.trials} trials")
    above: FigureBase = figure
    if pairs:
        above, below = figure.subfigures(2, 1, height_ratios=(upper, lower), squeeze=False).flat
    grid = list(above.subplots(upper, columns, sharey=True, squeeze=False).flat)
    low, high = _range(found)
    for row in range(upper):
        grid[row * columns].set_ylabel("score")
    for axes, influence in zip(grid, single, strict=False):
        _draw_one(axes, influence, found)
        axes.set_ylim(low, high)
    if pairs:
        maps = list(below.subplots(lower, columns, squeeze=False).flat)
        bounds = _bounds(pairs)
        shown = [_draw_two(axes, pair, bounds) for axes, pair in zip(maps, pairs, strict=False)]
        below.colorbar(shown[0], ax=maps, label="expected score")
        grid += maps
    for axes in grid:
        axes.set_visible(axes.has_data())
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "athanor"}):  # text stays text
        figure.savefig(path, dpi=DPI)


def _range(found: Influences) -> tuple[float, float]:
    """Return the least and the largest score of the axis: of all but the worst trials."""
    expected = [effect.score for each in found.parameters for effect in each.effects]
    low = min([float(np.percentile(found.scores, WORST)), *expected])
    high = max([*found.scores, *expected])
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin


def _draw_one(axes: Axes, influence: Influence, found: Influences) -> None:
    """Draw trials as dots, a little apart where values are choices, and the effects as a line."""
    levels = [effect.value for effect in influence.effects]
    taken = [setting[influence.name] for setting in found.settings]
    expected = [effect.score for effect in influence.effects]
    if influence.scale == "choice":
        jitter = random.Random(0)
        dots = [levels.index(value) + jitter.uniform(-0.15, 0.15) for value in taken]
        places: Sequence[float] = range(len(levels))
        _name_choices(axes, levels)
        axes.set_xlim(-0.5, len(levels) - 0.5)
    else:
        dots, places = taken, levels
        axes.set_xscale(influence.scale)
        if influence.scale == "linear" and all(isinstance(level, int) for level in levels):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.scatter(dots, found.scores, s=8, color=TRIALS, alpha=0.6, linewidths=0)
    numbers = all(isinstance(level, (int, float)) for level in levels) and levels == sorted(levels)
    axes.plot(places, expected, linestyle="-" if numbers else "none", color=EXPECTED)
    faces = [EXPECTED if effect.trials >= FEW else "white" for effect in influence.effects]
    axes.scatter(places, expected, s=28, c=faces, edgecolors=EXPECTED, zorder=3)
    axes.set_title(f"{influence.name}\nfANOVA {influence.fanova:.2f}", fontsize="medium")
    axes.grid(alpha=0.3)


def _bounds(pairs: Sequence[Interaction]) -> tuple[float, float]:
    """Return the least and the largest expectation of all maps, which share their colours."""
    scores = [score for pair in pairs for row in pair.scores for score in row]
    return min(scores), max(scores)


def _draw_two(axes: Axes, pair: Interaction, bounds: tuple[float, float]) -> AxesImage:
    """Draw a map of what to expect, the first parameter's values downwards."""
    low, high = bounds
    scores = np.array(pair.scores)
    shown = axes.imshow(scores, vmin=low, vmax=high, cmap="viridis", aspect="auto")
    for (row, column), score in np.ndenumerate(scores):
        dark = score < (low + high) / 2
        colour = "white" if dark else "black"
        axes.text(
            column, row, f"{score:.3f}", ha="center", va="center", color=colour, fontsize="x-small"
        )
    _name_choices(axes, pair.values[1])
    axes.set_yticks(range(len(pair.values[0])), [_short(value) for value in pair.values[0]])
    axes.set_ylabel(pair.names[0])
    axes.set_xlabel(pair.names[1])
    axes.set_title(f"together {pair.share:.1%} of the variance", fontsize="medium")
    return shown


def _name_choices(axes: Axes, values: Sequence[Any]) -> None:
    names = [_short(value) for value in values]
    crowded = sum(map(len, names)) > 24
    axes.set_xticks(range(len(values)), names, rotation=30 if crowded else 0)


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
