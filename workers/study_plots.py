"""Plots of a study as Plotly has them, `data` and `layout`, which the Optuna dashboard draws."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.attributes import Cost
from search.influence import Influences
from search.job import Job
from search.predictions import Z_95
from search.store import TrialRecord

Figure = dict[str, Any]
PHASES = ("queued", "preparing", "searching", "landing", "assembling")


def leaderboard_plot(board: Sequence[TrialRecord], label: str) -> Figure:
    """Show the best trials' scores with 95 % intervals, the best first."""
    errors = [Z_95 * (record.error or 0.0) for record in board]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [f"trial {record.number}" for record in board],
        "y": [record.score for record in board],
        "error_y": {"type": "data", "array": errors},
        "text": [_network(record) for record in board],
    }
    return _figure([trace], "Leaderboard, within the limits", y=label)


def budget_plot(job: Job) -> Figure:
    """Show what each phase has taken, one after the other, and what was promised."""
    known = [phase for phase in PHASES if phase in job.phases]
    ends = [*(job.phases[phase] for phase in known[1:]), job.seconds_used]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": phase,
            "x": [round(end - job.phases[phase], 2)],
            "y": ["used"],
        }
        for phase, end in zip(known, ends, strict=True)
    ]
    planned = _planned(job)
    traces += [
        {"type": "bar", "orientation": "h", "name": name, "x": [span], "y": ["promised"]}
        for name, span in planned.items()
    ]
    figure = _figure(traces, "Budget", x="seconds")
    figure["layout"]["barmode"] = "stack"
    return figure


def ensemble_plot(result: Mapping[str, Any], label: str) -> Figure:
    """Show what each finalist scores alone, out of fold, and what all score together."""
    weights = {f"trial-{each['trial']}": each["weight"] for each in result["members"]}
    alone = result["out_of_fold_of_members"]
    names = [f"{name} (weight {weights.get(name, 0.0):.2f})" for name in alone]
    trace = {
        "type": "bar",
        "x": [*names, "together"],
        "y": [*alone.values(), result["out_of_fold_score"]],
    }
    figure = _figure([trace], "Ensemble, out of fold", y=label)
    scores = [*alone.values(), result["out_of_fold_score"]]
    span = max(scores) - min(scores) or 0.01
    figure["layout"]["yaxis"]["range"] = [min(scores) - span, max(scores) + 0.2 * span]
    return figure


def front_plot(
    board: Sequence[TrialRecord],
    front: Sequence[int],
    *,
    cost: Cost,
    label: str,
    raced: Mapping[int, float],
) -> Figure:
    """Show finished trials by cost and score, and the front.

    Args:
        front: the numbers of its trials.
        raced: scores of a longer training, by trial; then only these are shown.
    """
    finished = [r for r in board if r.finished and (not raced or r.number in raced)]
    finished.sort(key=lambda record: record.cost(cost) or 0.0)
    traces = [
        {
            "type": "scatter",
            "mode": mode,
            "name": name,
            "x": [record.cost(cost) for record in records],
            "y": [raced.get(record.number, record.score) for record in records],
            "text": [f"trial {record.number}: {_network(record)}" for record in records],
        }
        for name, mode, records in (
            ("trials", "markers", finished),
            ("front", "lines+markers", [r for r in finished if r.number in front]),
        )
    ]
    title = "Accurate and cheap, in the race" if raced else "Accurate and cheap"
    return _figure(traces, title, x=cost, y=label)


def confusion_plot(counts: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """Show how many rows of each class are taken for each, out of fold."""
    trace = {
        "type": "heatmap",
        "x": list(names),
        "y": list(names),
        "z": counts.tolist(),
        "zauto": False,
        "zmin": 0,
        "zmax": int(np.max(counts - np.diag(np.diag(counts)))) or 1,
        "texttemplate": "%{z}",
    }
    figure = _figure([trace], "Confusion, out of fold", x="predicted", y="true")
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    return figure


def influence_plot(found: Influences) -> Figure:
    """Show which share of the score's variance each hyperparameter explains."""
    ranked = list(reversed(found.parameters[:15]))
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [each.fanova for each in ranked],
        "y": [each.name for each in ranked],
    }
    title = f"Influence on the {found.target} score (fANOVA, {found.trials} trials)"
    return _figure([trace], title, x="share of the variance")


def _planned(job: Job) -> dict[str, float]:
    """Return the parts of the time that was promised."""
    budget, plan = job.spec.budget, job.plan
    if budget is None or plan is None or plan.search_seconds is None:
        return {}
    ends = {"until the search ends": plan.search_seconds, "landing and the rest": budget}
    spans = [0.0, *ends.values()]
    return {
        name: round(after - before, 2)
        for name, (before, after) in zip(ends, itertools.pairwise(spans), strict=True)
    }


def _network(record: TrialRecord) -> str:
    return "" if record.candidate is None else str(record.candidate.architecture)


def _figure(traces: list[dict[str, Any]], title: str, *, x: str = "", y: str = "") -> Figure:
    axes = {
        name: {"title": {"text": text}, "automargin": True}
        for name, text in (("xaxis", x), ("yaxis", y))
    }
    return {"data": traces, "layout": {"title": {"text": title}, **axes}}
