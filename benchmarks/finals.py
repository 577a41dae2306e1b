"""What is made of one search: the folds' ensemble, the best network, a refit, a taught network.

All have the same wall-clock time. The search is shared: what a refit or a student has is the time
that the search's own landing took.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bootstrap import interval_of_mean
from benchmarks.results import Results
from search.pairing import packed, unpacked
from workers.data import load_data
from workers.model_folder import load_model

DATA = "fashion-mnist"
FINALS = ("bag", "best", "refit", "distilled")


def play(budget: float, seed: int) -> list[dict[str, Any]]:
    """Search once and land it in each way, in an empty folder; return a row of each."""
    with tempfile.TemporaryDirectory(prefix="athanor-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        options = ("--data", DATA, "--budget", f"{budget:g}s", "--seed", str(seed))
        searched = _command(folder, "search", *options, "--out", "bag")
        job, landing = searched["job"], _landing_seconds(searched)
        time = ("--budget", f"{landing:.0f}s")
        found = {
            "bag": searched,
            "best": _command(folder, "ensemble", job, "--final", "best", "--out", "best"),
            "refit": _command(folder, "refit", job, *time, "--out", "refit"),
            "distilled": _command(folder, "distill", job, *time, "--out", "distilled"),
        }
        return [
            {
                "finals": budget,
                "seed": seed,
                "final": final,
                "landing_s": round(landing, 1),
                "networks": found[final]["result"]["networks"],
                "out_of_fold": found[final]["result"]["out_of_fold_score"],
                **_tested(folder / final),
            }
            for final in FINALS
        ]


def _landing_seconds(job: dict[str, Any]) -> float:
    """Return what the landing of a search took, its assembly included."""
    return float(job["seconds_used"] - job["phases"]["landing"])


def _tested(folder: Path) -> dict[str, Any]:
    """Return which test images a model has right."""
    data = load_data(DATA, cache=folder)
    right = load_model(folder).predict(data.test_images).argmax(1) == data.test_labels
    return {"accuracy": float(right.mean()), "right": packed(right)}


def _command(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of Athanor's; return what it printed as JSON."""
    process = subprocess.run(
        [sys.executable, "-m", "athanor", *arguments, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    if process.returncode:
        raise RuntimeError(f"athanor {' '.join(arguments)}: {process.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return found


def finals(results: Results, *, budgets: Sequence[float], seeds: Sequence[int]) -> dict[str, Any]:
    """Land searches in each way; return the ensemble's lead over each other one, in points."""
    for budget in budgets:
        for seed in seeds:
            if results.find(finals=budget, seed=seed) is None:
                for row in play(budget, seed):
                    results.add(row)
                    told = {key: row[key] for key in ("finals", "seed", "final", "accuracy")}
                    print(told, file=sys.stderr)
    return {
        f"{budget:g}": {final: _beside(results, budget, final, seeds) for final in FINALS}
        for budget in budgets
    }


def _beside(
    results: Results, budget: float, final: str, seeds: Sequence[int]
) -> dict[str, Any] | None:
    """Return a final's mean accuracy and the ensemble's lead over it, with its interval."""
    pairs = []
    for seed in seeds:
        found = [results.find(finals=budget, seed=seed, final=each) for each in ("bag", final)]
        pairs += [[unpacked(row["right"]) for row in found if row is not None]]
    whole = [pair for pair in pairs if len(pair) == 2]
    if not whole:
        return None
    leads = np.array([bag.astype(float) - other for bag, other in whole])
    low, high = interval_of_mean(leads)
    return {
        "accuracy": round(float(np.mean([other for _, other in whole])), 5),
        "points_behind_bag": round(100 * float(leads.mean()), 3),
        "interval": [round(100 * low, 3), round(100 * high, 3)],
        "seeds": len(whole),
    }
