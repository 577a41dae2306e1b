"""A comparison as tables on a terminal, and as one HTML file that needs no network."""

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from athanor.comparison.values import Comparison, Side
from athanor.energy import WATT_HOUR
from athanor.progress import clock_text
from athanor.report.html import count_text, environment, scored
from search.metrics import score_text


def figures(side: Side) -> dict[str, str]:
    """Return what a job is compared by, in words."""
    budget = "" if side.budget is None else f" of {clock_text(side.budget)}"
    rows = "" if side.out_of_fold is None else f", {side.rows:,} rows"
    tests = "" if side.test is None else f", {side.test_rows:,} rows"
    best = "" if side.best is None else f"{scored(side.best)}, trial {side.best_trial}"
    return {
        "state": side.state,
        "time": f"{clock_text(side.seconds)}{budget}",
        "processors": clock_text(side.processor_seconds),
        "energy": "" if side.joules is None else f"{side.joules / WATT_HOUR:.1f} Wh",
        "trials": str(side.trials),
        f"best trial ({side.metric})": best,
        f"out of fold ({side.metric})": (
            "" if side.out_of_fold is None else f"{scored(side.out_of_fold)}{rows}"
        ),
        "expected of the test": "" if side.expected is None else scored(side.expected),
        "test": "not opened" if side.test is None else f"{scored(side.test)}{tests}",
        "networks": str(side.networks or ""),
        "parameters of all": count_text(side.parameters) if side.parameters else "",
    }


def comparison_rows(found: Comparison) -> list[tuple[str, list[str]]]:
    """Return the name and the jobs' values of each figure that any of them has."""
    sides = [figures(side) for side in found.sides]
    names = dict.fromkeys(name for side in sides for name in side)
    rows = [(name, [side.get(name, "") for side in sides]) for name in names]
    return [(name, values) for name, values in rows if any(values)]


def pairs_lines(found: Comparison) -> list[str]:
    """Say for each pair of jobs by how much one is better, and how sure that is."""
    return [
        f"{pair.words}: {score_text(pair.scores[0])} against {score_text(pair.scores[1])}, "
        f"difference {pair.difference.value:+.4f} (95 % interval {pair.difference.low:+.4f} to "
        f"{pair.difference.high:+.4f}); {pair.on} ({pair.rows:,})"
        for pair in found.pairs
    ]


def print_comparison(found: Comparison, console: Console) -> None:
    """Print figures, settings that differ, and what the pairs say."""
    names = [side.job for side in found.sides]
    for title, rows in (
        ("jobs", comparison_rows(found)),
        ("settings that differ", [(each.name, list(each.values)) for each in found.settings]),
    ):
        table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
        for name in ("", *names):
            table.add_column(name)
        for name, values in rows:
            table.add_row(name, *map(escape, values))
        if rows:
            console.print(table)
    for line in (*pairs_lines(found), *found.apart):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def comparison_page(found: Comparison) -> str:
    """Return the HTML page."""
    page = environment().get_template("comparison.html")
    return page.render(
        found=found, rows=comparison_rows(found), lines=pairs_lines(found), jobs=found.sides
    )
