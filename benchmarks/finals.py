"""What is made of one search: the ensemble, the best network, a refit, a taught one, a soup.

All have the same wall-clock time. The search is shared: what a refit or a student has is the time
that the search's own landing took.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bootstrap import interval_of_mean
from benchmarks.results import Results
from benchmarks.soup import soup
from search.marks import Marks
from workers.data import load_data
from workers.files import write_atomically
from workers.model_folder import load_model

DATA, SEARCHED = "fashion-mnist", "searched.json"
FINALS = ("bag", "best", "refit", "distilled", "soup")


def play(folder: Path, *, budget: float, seed: int, final: str) -> dict[str, Any]:
    """Land a search in one way, and search before unless that has been done; return the row.

    Args:
        folder: of the search and all that is made of it; whatever was interrupted is done again.
    """
    searched = _searched(folder, budget=budget, seed=seed)
    job, landing = searched["job"], _landing_seconds(searched)
    time = ("--budget", f"{landing:.0f}s")
    commands: dict[str, tuple[str, ...]] = {
        "best": ("ensemble", job, "--final", "best"),
        "refit": ("refit", job, *time),
        "distilled": ("distill", job, *time),
    }
    found = searched
    if final in commands:
        shutil.rmtree(folder / final, ignore_errors=True)
        found = _command(folder, *commands[final], "--out", final)
    return {
        "finals": budget,
        "seed": seed,
        "final": final,
        "landing_s": round(landing, 1),
        "networks": found["result"]["networks"],
        "out_of_fold": found["result"]["out_of_fold_score"],
        **_tested(folder, final),
    }


def _searched(folder: Path, *, budget: float, seed: int) -> dict[str, Any]:
    """Return what the search printed, which is kept beside its model."""
    printed = folder / SEARCHED
    if not printed.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        options = ("--data", DATA, "--budget", f"{budget:g}s", "--seed", str(seed))
        found = _command(folder, "search", *options, "--out", "bag")
        write_atomically(printed, json.dumps(found).encode())
    searched: dict[str, Any] = json.loads(printed.read_text())
    return searched


def _landing_seconds(job: dict[str, Any]) -> float:
    """Return what the landing of a search took, its assembly included."""
    return float(job["seconds_used"] - job["phases"]["landing"])


def _tested(folder: Path, final: str) -> dict[str, Any]:
    """Return which test images a model has right."""
    data = load_data(DATA, cache=folder / final)
    if final == "soup":
        said = soup(folder / "bag", data.train_images, data.test_images)
    else:
        said = load_model(folder / final).predict(data.test_images)
    right = said.argmax(1) == data.test_labels
    return {"accuracy": float(right.mean()), "right": Marks(right).text}


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


def finals(
    results: Results,
    *,
    budgets: Sequence[float],
    seeds: Sequence[int],
    wanted: Sequence[str] = FINALS,
    kept: Path | None,
) -> dict[str, Any]:
    """Land searches in each way; return the ensemble's lead over each other one, in points.

    Args:
        wanted: of `FINALS`, those to be made now; a soup is the mean of the folds' weights.
        kept: where searches stay until all of `FINALS` has been made of them, so that an
            interrupted benchmark does not search again; None: nowhere.
    """
    with tempfile.TemporaryDirectory(prefix="athanor-", ignore_cleanup_errors=True) as name:
        root = kept or Path(name)
        for budget, seed in itertools.product(budgets, seeds):
            folder = root / f"{budget:g}s-seed-{seed}"
            made = partial(results.find, finals=budget, seed=seed)
            for final in wanted:
                if made(final=final) is None:
                    row = play(folder, budget=budget, seed=seed, final=final)
                    results.add(row)
                    told = {key: row[key] for key in ("finals", "seed", "final", "accuracy")}
                    print(told, file=sys.stderr, flush=True)
            if all(made(final=final) for final in FINALS):
                shutil.rmtree(folder, ignore_errors=True)
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
        pairs += [[Marks.read(row["right"]).right for row in found if row is not None]]
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
