"""Accuracy for a time budget, against what a user would pick instead.

    python benchmarks/time_to_accuracy.py --prepare         minutes: rivals are installed
    python benchmarks/time_to_accuracy.py --quick           six minutes: does every arm run?
    python benchmarks/time_to_accuracy.py --out times.json  ten hours and more; resumes run by run

Every run is one process on an otherwise idle machine: Fashion-MNIST's 60,000 training rows, a
wall-clock budget that begins with the process, the classes of the test images at its end. Arms
alternate within each budget and seed.

    athanor                 the command `athanor search`
    fixed                   the same with `--trials 1`: our prior on four folds, no search
    optuna                  the script that Optuna's tutorials teach: TPE, median pruning, PyTorch
    ray                     Ray Tune's PyTorch tutorial: random samples, ASHA
    autokeras               AutoKeras's image classifier, ended by a callback
    random                  our space and trainer, sampled at random
    optuna_our_trainer      our space and trainer, searched as the Optuna script does
    athanor_their_trainer   our search with the tutorials' trainer

Prints tables and, as its last line, one JSON object: for each arm and budget the mean test
accuracy, its range over the seeds, its interval (95 %, images and seeds drawn again) and the
longest wall-clock time; the least budget that reaches 0.92 and 0.93; differences between arms,
paired by image and seed. A run that failed makes its figures null and the exit status 1; its row
in the file says why, and keeps it from being tried again until it is deleted there.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from benchmarks.accuracy_figures import Figures, plot, times
from benchmarks.contenders import ARMS, Run, play
from benchmarks.preparing import missing, prepare, rows_file
from benchmarks.results import Results, machine, print_table
from benchmarks.side_by_side import fashion_mnist

BUDGETS, SEEDS = "2.5,5,10,20", "0,1"  # minutes
QUICK_BUDGET = 40.0  # seconds


class Answers:
    """Which test images each run got right: one small file a run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, run: Run) -> Path:
        return self._folder / f"{run.arm}-{run.budget:g}s-seed-{run.seed}.npy"

    def keep(self, run: Run, correct: NDArray[np.bool_]) -> None:
        """Write a run's answers, eight images a byte."""
        np.save(self._path(run), np.packbits(correct))

    def of(self, run: Run) -> NDArray[np.bool_] | None:
        """Return a run's answers, None if it left none."""
        if not self._path(run).exists():
            return None
        return np.unpackbits(np.load(self._path(run), allow_pickle=False)).astype(bool)


def measure(runs: Sequence[Run], results: Results, answers: Answers, *, quick: bool) -> None:
    """Play what was prepared and not played yet; keep every outcome as it comes."""
    todo = []
    for run in runs:
        lacking = missing(run.arm, quick=quick)
        if lacking is not None:
            print(f"{run}: --prepare must first provide {lacking}", file=sys.stderr)
        elif results.find(**run.key) is None:
            todo.append(run)
    minutes = sum(run.budget for run in todo) / 60
    print(f"{len(todo)} runs, about {minutes:.0f} minutes", file=sys.stderr)
    for run in todo:
        outcome = play(run, rows=rows_file(quick=quick))
        if outcome.correct is not None:
            answers.keep(run, outcome.correct)
        results.add(outcome.row)
        said = outcome.row["failure"] or f"{outcome.row['accuracy']:.4f}"
        print(f"{run}: {said} in {outcome.row['wall_s']:.0f} s", file=sys.stderr)


def report(figures: Figures, arms: Sequence[str], *, picture: Path | None) -> bool:
    """Print tables and the last line; return whether every arm has its accuracies."""
    accuracies, contrasts = figures.accuracies(arms), figures.contrasts()
    reached = times(accuracies)
    print_table(accuracies, tuple(accuracies[0]))
    print_table(reached, tuple(reached[0]))
    print_table(contrasts, tuple(contrasts[0]))
    if picture is not None:
        plot(accuracies, picture)
    found = {"accuracies": accuracies, "minutes_to": reached, "contrasts": contrasts}
    print(json.dumps({**found, "machine": machine()}))
    return all(row["accuracy"] is not None for row in accuracies)


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="does every arm run?")
    parser.add_argument(
        "--prepare", action="store_true", help="only install and measure what runs need"
    )
    parser.add_argument("--arms", type=_listed(str), default=list(ARMS), help="a,b,...")
    parser.add_argument("--budgets", type=_listed(float), default=BUDGETS, help="minutes")
    parser.add_argument("--seeds", type=_listed(int), default=SEEDS)
    parser.add_argument("--out", type=Path, help="JSON file; its runs are not run again")
    parser.add_argument("--plot", type=Path, help="picture of the accuracies")
    chosen = parser.parse_args()
    unknown = set(chosen.arms) - set(ARMS)
    if unknown:
        parser.error(f"arms must be among {', '.join(ARMS)}, but got {', '.join(sorted(unknown))}")
    if chosen.quick and chosen.out:
        parser.error("--quick measures nothing that is worth a file, but got --out")
    return chosen


def _listed(convert: Any) -> Any:
    def parse(text: str) -> list[Any]:
        return [convert(part) for part in text.split(",")]

    return parse


def main() -> int:
    """Prepare, or play the runs that are asked for; return the exit status."""
    chosen = options()
    fashion_mnist()
    if chosen.prepare:
        problems = prepare()
        print("\n".join(problems), file=sys.stderr)
        return int(bool(problems))
    budgets = [60.0 * minutes for minutes in chosen.budgets]
    seeds = chosen.seeds
    if chosen.quick:
        budgets, seeds = [QUICK_BUDGET], seeds[:1]
    runs = [Run(arm, budget, seed) for budget in budgets for seed in seeds for arm in chosen.arms]
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.out.with_name(f"{chosen.out.stem}-answers") if chosen.out else Path(scratch)
        results, answers = Results(chosen.out), Answers(folder)
        measure(runs, results, answers, quick=chosen.quick)
        figures = Figures(results.rows, answers.of, budgets=budgets, seeds=seeds)
        return int(not report(figures, chosen.arms, picture=chosen.plot))


if __name__ == "__main__":
    sys.exit(main())
