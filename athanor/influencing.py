"""Influences of hyperparameters as a table, and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

from search.effects import Effect, Interaction
from search.influence import Influences
from search.metrics import score_text

BAR = 12  # characters of the longest bar
SIGNALS = {"parameters": "parameters", "macs": "MACs", "early score": "first validation"}


def influence_json(found: Influences, signals: dict[str, float | None]) -> dict[str, Any]:
    """Return everything that is known of the influences, but the trials themselves."""
    return {
        "parameters": [asdict(each) for each in found.parameters],
        "interactions": [asdict(each) for each in found.interactions],
        "target": found.target,
        "trials": found.trials,
        "rank_correlation": signals,
    }


def influence_table(found: Influences) -> Table:
    """List the parameters, the most influential first, with what to expect of their values."""
    title = f"influence on the score ({found.target}, {found.trials} trials)"
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("parameter", no_wrap=True)
    table.add_column("fANOVA", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("PED-ANOVA", justify="right", no_wrap=True)
    table.add_column("best value, and the worst", overflow="ellipsis", no_wrap=True)
    most = max((each.fanova for each in found.parameters), default=1.0) or 1.0
    for each in found.parameters:
        table.add_row(
            each.name,
            f"{each.fanova:.3f}",
            "█" * round(BAR * each.fanova / most),
            f"{each.ped_anova:.3f}",
            escape(_extremes(each.effects)),
        )
    return table


def interactions_lines(interactions: tuple[Interaction, ...]) -> list[str]:
    """Say for pairs of parameters how much they do together, and which values go best."""
    lines = []
    for pair in interactions:
        one, other, score = pair.best
        lines.append(
            f"{pair.names[0]} x {pair.names[1]}: {pair.share:.1%} of the variance together; "
            f"best {_value(one)} with {_value(other)} → {score_text(score)}"
        )
    return lines


def signals_text(signals: dict[str, float | None]) -> str:
    """Say how well each cheap signal ranks the trials."""
    told = [
        f"{SIGNALS[name]} {'unknown' if rho is None else f'{rho:+.2f}'}"
        for name, rho in signals.items()
    ]
    return f"rank correlation with the score: {', '.join(told)}"


def _extremes(effects: tuple[Effect, ...]) -> str:
    ranked = sorted(effects, key=lambda effect: -effect.score)
    return " · ".join(f"{_value(e.value)} → {score_text(e.score)}" for e in (ranked[0], ranked[-1]))


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
