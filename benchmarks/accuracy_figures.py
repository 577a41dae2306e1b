"""The figures of `time_to_accuracy.py`: from runs and their right and wrong images to answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bootstrap import interval_of_mean
from benchmarks.contenders import RIVALS, Run

TARGETS = (0.92, 0.93)
CONTRASTS: dict[str, dict[str, float]] = {  # weights of arms whose sum is of interest
    "athanor minus fixed": {"athanor": 1.0, "fixed": -1.0},
    "our search minus theirs": {  # over both trainers
        "athanor": 0.5,
        "athanor_their_trainer": 0.5,
        "optuna_our_trainer": -0.5,
        "optuna": -0.5,
    },
    "our trainer minus theirs": {  # over both searches
        "athanor": 0.5,
        "optuna_our_trainer": 0.5,
        "athanor_their_trainer": -0.5,
        "optuna": -0.5,
    },
}

Answers = Callable[[Run], NDArray[np.bool_] | None]  # whether each test image was right
Table = list[dict[str, Any]]


class Figures:
    """All figures over some arms, budgets (in seconds) and seeds.

    A figure that needs a run which failed, or was not made, is None.
    """

    def __init__(
        self, rows: Table, answers: Answers, *, budgets: Sequence[float], seeds: Sequence[int]
    ) -> None:
        self._rows = {Run(row["arm"], row["budget_s"], row["seed"]): row for row in rows}
        self._answers, self._budgets, self._seeds = answers, sorted(budgets), seeds

    def accuracies(self, arms: Sequence[str]) -> Table:
        """Return a row an arm and budget."""
        return [self._accuracy(arm, budget) for arm in arms for budget in self._budgets]

    def _accuracy(self, arm: str, budget: float) -> dict[str, Any]:
        rows = [row for seed in self._seeds if (row := self._rows.get(Run(arm, budget, seed)))]
        scores = [row["accuracy"] for row in rows if row["accuracy"] is not None]
        correct = self._correct(arm, budget)
        low, high = (None, None) if correct is None else interval_of_mean(correct)
        return {
            "arm": arm,
            "minutes": round(budget / 60, 3),
            "runs": len(rows),
            "accuracy": None if correct is None else float(np.mean(scores)),
            "lowest": min(scores, default=None),
            "highest": max(scores, default=None),
            "interval_low": low,
            "interval_high": high,
            "wall_s": max((row["wall_s"] for row in rows), default=None),
            "late": sum(row["late"] for row in rows),
            "failed": len(rows) - len(scores),
        }

    def _correct(self, arm: str, budget: float) -> NDArray[np.float64] | None:
        """Return (seeds, images) of ones and zeros if every seed has its run."""
        found = [self._answers(Run(arm, budget, seed)) for seed in self._seeds]
        arrays = [array for array in found if array is not None]
        return np.stack(arrays).astype(np.float64) if len(arrays) == len(found) else None

    def contrasts(self) -> Table:
        """Return a row a contrast and budget: paired over seeds and images."""
        return [
            {"contrast": name, "minutes": round(budget / 60, 3), **self._contrast(name, budget)}
            for name in CONTRASTS
            for budget in self._budgets
        ]

    def _contrast(self, name: str, budget: float) -> dict[str, float | None]:
        found = {arm: self._correct(arm, budget) for arm in CONTRASTS[name]}
        known = {arm: values for arm, values in found.items() if values is not None}
        if len(known) < len(found):
            return {"difference": None, "interval_low": None, "interval_high": None}
        images = min(values.shape[1] for values in known.values())  # a quick check has fewer
        total = sum(CONTRASTS[name][arm] * values[:, :images] for arm, values in known.items())
        assert isinstance(total, np.ndarray)
        low, high = interval_of_mean(total)
        return {"difference": float(total.mean()), "interval_low": low, "interval_high": high}


def times(accuracies: Table) -> Table:
    """Return a row a target: each arm's least budget in minutes whose mean reaches it, and the
    ratio of our time to that of the fastest rival."""
    arms = list(dict.fromkeys(row["arm"] for row in accuracies))
    return [_times_to(target, arms, accuracies) for target in TARGETS]


def _times_to(target: float, arms: list[str], accuracies: Table) -> dict[str, Any]:
    minutes = {
        arm: min(
            (
                row["minutes"]
                for row in accuracies
                if row["arm"] == arm and row["accuracy"] is not None and row["accuracy"] >= target
            ),
            default=None,
        )
        for arm in arms
    }
    ours = minutes.get("athanor")
    theirs = min((time for arm in RIVALS if (time := minutes.get(arm)) is not None), default=None)
    ratio = None if ours is None or theirs is None else round(ours / theirs, 3)
    return {"target": target, **minutes, "ratio_to_best_rival": ratio}


def plot(accuracies: Table, path: Path) -> None:
    """Draw accuracy against budget: a line an arm, and the range over its seeds."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for arm in dict.fromkeys(row["arm"] for row in accuracies):
        rows = [row for row in accuracies if row["arm"] == arm and row["accuracy"] is not None]
        if not rows:
            continue
        minutes = [row["minutes"] for row in rows]
        ours: dict[str, Any] = {"linewidth": 2.5, "color": "black"} if arm == "athanor" else {}
        (line,) = axes.plot(minutes, [row["accuracy"] for row in rows], "o-", label=arm, **ours)
        axes.fill_between(
            minutes,
            [row["lowest"] for row in rows],
            [row["highest"] for row in rows],
            color=line.get_color(),
            alpha=0.15,
        )
    axes.set_xscale("log")
    ticks = sorted({row["minutes"] for row in accuracies})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("wall-clock budget, minutes")
    axes.set_ylabel("accuracy on the 10,000 test images: mean and range over the seeds")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
