"""The main job on real Fashion-MNIST: one search command, then predictions in a new process.

    python benchmarks/main_job.py --quick          a 40-second search
    python benchmarks/main_job.py                  10 minutes for each seed

Prints a table and, as its last line, one JSON object:

    test_accuracy     as the search printed it
    predict_accuracy  of the model folder, by `athanor predict` in a new process
    trials            that trained (infeasible ones and copies apart)
    pruned            of them, stopped by the pruner after at least one epoch
    folds             on which every member of the ensemble was trained
    overrun_s         wall-clock seconds of the whole command beyond its budget, at least 0
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from athanor.places import Places
from search.durations import parse_duration
from workers.data import load_data

DATA = "fashion-mnist"
QUICK_BUDGET = 40.0  # seconds
FULL_BUDGET = 600.0
ATHANOR = [sys.executable, "-m", "athanor"]


def measure(*, budget: float, seed: int, workers: int | None = None) -> dict[str, Any]:
    """Run one search and predict with what it left; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        runs, model = Path(folder) / "runs", Path(folder) / "model"
        command = [*ATHANOR, "search", "--data", DATA, "--budget", f"{budget:g}s", "--json"]
        command += ["--seed", str(seed), "--out", str(model)]
        command += ["--store", str(runs / "athanor.db"), "--artifacts", str(runs / "artifacts")]
        if workers is not None:
            command += ["--workers", str(workers)]
        begin = time.monotonic()
        found = _json_of(command)
        seconds = time.monotonic() - begin
        predicted = _json_of([*ATHANOR, "predict", str(model), DATA, "--json"])
    trials = found["leaderboard"]
    trained = [trial for trial in trials if trial["curve"] and trial["state"] != "copied"]
    return {
        "seed": seed,
        "budget_s": budget,
        "test_accuracy": found["result"]["test_accuracy"],
        "predict_accuracy": predicted["accuracy"],
        "trials": len(trained),
        "pruned": sum(trial["state"] == "pruned" for trial in trained),
        "folds": found["result"]["folds"],
        "overrun_s": round(max(0.0, seconds - budget), 2),
        "wall_s": round(seconds, 2),
        "phases": found["phases"],
    }


def _json_of(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Combine the seeds: means of accuracies, the worst of everything else."""
    count = len(rows)
    return {
        "test_accuracy": sum(row["test_accuracy"] for row in rows) / count,
        "predict_accuracy": sum(row["predict_accuracy"] for row in rows) / count,
        "trials": min(row["trials"] for row in rows),
        "pruned": min(row["pruned"] for row in rows),
        "folds": min(row["folds"] for row in rows),
        "overrun_s": max(row["overrun_s"] for row in rows),
        "seeds": [row["seed"] for row in rows],
        "budget_s": rows[0]["budget_s"],
    }


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one 40-second search")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--budget", help="of each search: 10m by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, help="JSON file; its finished seeds are not run again")
    options = parser.parse_args()
    load_data(DATA, cache=Places.of(None, None).cache)
    if options.prepare:
        return
    default = QUICK_BUDGET if options.quick else FULL_BUDGET
    budget = parse_duration(options.budget) or default
    print(f"about {len(options.seeds) * (budget + 10) / 60:.0f} minutes", file=sys.stderr)
    rows = _measured(options.out)
    for seed in options.seeds:
        if not any(row["seed"] == seed and row["budget_s"] == budget for row in rows):
            rows.append(measure(budget=budget, seed=seed, workers=options.workers))
            _write(options.out, rows)
    rows = [row for row in rows if row["seed"] in options.seeds and row["budget_s"] == budget]
    _print_table(rows)
    print(json.dumps(summary(rows)))


def _measured(out: Path | None) -> list[dict[str, Any]]:
    if out is None or not out.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"]
    return rows


def _write(out: Path | None, rows: list[dict[str, Any]]) -> None:
    if out is not None:
        machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"
        out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def _print_table(rows: list[dict[str, Any]]) -> None:
    names = ("seed", "test_accuracy", "predict_accuracy", "trials", "pruned", "folds", "wall_s")
    print("  ".join(f"{name:>16}" for name in names))
    for row in rows:
        print("  ".join(f"{row[name]:>16}" for name in names))


if __name__ == "__main__":
    main()
