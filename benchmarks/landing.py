"""The landing: selection against AutoGluon's, leaks that must be caught, budgets that must hold.

    python benchmarks/landing.py --prepare    a minute: AutoGluon's core in its own environment
    python benchmarks/landing.py --quick      under a minute
    python benchmarks/landing.py --out landing.json    sixteen hours; resumes run by run

Parts, of which `--parts a,b` chooses some:

    selection   100 random problems and a real search's trials: our objective against AutoGluon's
                (ties broken by the second metric, as we do), a transcript of the paper with
                scikit-learn's metrics, and the best single model; then the speed, in turn
    leaks       searches on shuffled labels with copies, and on groups that tell the label
    protocols   data with times, with groups, unbalanced, and few: are they parted accordingly?
    estimate    a hundred small searches: does the test score lie in the interval stated before?
    budgets     1, 2, 5 and 10 minutes five times, 30 minutes once, of wall-clock and of devices;
                among them with a slow disk, and with a worker killed midway
    finals      what is made of the same search, of 20 and of 60 minutes, three seeds: the folds'
                ensemble, the best network, a refit, a taught one, in the same time (eleven hours)

Prints tables and, as its last line, one JSON object: `selection_worse` (problems),
`selection_speedup`, `leaks_missed`, `overrun_max_s`, and what they rest on. A part that was not run
is null. The exit status is 1 if a selection is worse, a leak was missed, a protocol is wrong, or a
search ended late or without a model.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from benchmarks import leaks
from benchmarks.budgets import BudgetRun, Mishap, can_slow_disks, play
from benchmarks.environments import AUTOGLUON
from benchmarks.finals import FINALS, finals
from benchmarks.protocols import protocols
from benchmarks.results import Results, machine, print_table
from benchmarks.selection import compare, of_search, random_problems, speedup, worse

PARTS = ("selection", "leaks", "protocols", "estimate", "budgets", "finals")
PROBLEMS, QUICK_PROBLEMS = 100, 12
LARGE = {"models": 100, "rows": 60_000, "times": 3}
QUICK_LARGE = {"models": 20, "rows": 20_000, "times": 1}
ESTIMATES = 100
HELD, WIDEST = 0.9, 1.5  # of them, and times a binomial interval of the test score
LATE = 10.0  # seconds over a budget that are too many

Figures = dict[str, Any]


def selection(*, quick: bool, study: tuple[str, Path, str] | None) -> Figures:
    """Compare selections."""
    rival = AUTOGLUON.installed
    if not rival:
        print("without --prepare, a transcript stands for AutoGluon", file=sys.stderr)
    problems = random_problems(QUICK_PROBLEMS if quick else PROBLEMS)
    if study is not None:
        from search.store import StudyStore

        url, artifacts, job = study
        problems += of_search(StudyStore(url), artifacts, job)
    rows = compare(problems, rival=rival)
    named = [name for name in rows[0] if name.startswith("over_")]
    print_table(
        [
            {
                "ours over": name.removeprefix("over_"),
                "better": sum(row[name] > 1e-6 for row in rows),
                "equal": sum(abs(row[name]) <= 1e-6 for row in rows),
                "worse": sum(row[name] < -1e-6 for row in rows),
                "least": min(row[name] for row in rows),
            }
            for name in named
        ],
        ("ours over", "better", "equal", "worse", "least"),
    )
    speed = speedup(**(QUICK_LARGE if quick else LARGE), rival=rival)
    return {
        "selection_worse": worse(rows),
        "selection_problems": len(rows),
        "selection_speedup": speed["speedup"],
        "selection_against": speed,
    }


def leak_tests(folder: Path, *, quick: bool) -> Figures:
    """Search where something was planted; say what leaked."""
    names = ["shuffled", "groups"] if quick else ["shuffled", "groups", "untold"]
    for name in names:
        (folder / name).mkdir()
    leaks.plant_shuffled(folder / "shuffled" / "data.npz")
    leaks.plant_groups(folder / "groups" / "data.npz", told=True)
    if not quick:
        leaks.plant_groups(folder / "untold" / "data.npz", told=False)
    found = list(leaks.run_searches([folder / name for name in names]))
    missed = leaks.shuffled_leaks(found[0]) | leaks.group_leaks(found[1])
    if not quick:
        missed["the planted leak is none"] = not leaks.untold_groups_leak(found[2])
    print_table(
        [{"leak": name, "missed": missed_it} for name, missed_it in missed.items()],
        ("leak", "missed"),
    )
    return {
        "leaks_missed": sum(missed.values()),
        "leaks": missed,
        "leak_searches_over_s": [round(each.over, 2) for each in found],
    }


def protocol_tests(folder: Path) -> Figures:
    """Search on data that ask for a protocol of their own."""
    rows = list(protocols(folder))
    print_table(rows, ("data", "right", "folds", "splits", "final", "metric", "score", "over_s"))
    for row in rows:
        print(f"{row['data']}: {'; '.join(row['said'])}")
    return {"protocols_wrong": sum(not row["right"] for row in rows), "protocols": rows}


def estimates(results: Results) -> Figures:
    """Search a hundred times, in small; say how often the stated interval held the test score.

    Every other search has two finalists, whose weights are chosen by cross-fitting.
    """
    done = {row["estimate"] for row in results.rows if "estimate" in row}
    todo = [seed for seed in range(ESTIMATES) if seed not in done]
    with tempfile.TemporaryDirectory(prefix="athanor-") as name:
        folders = [Path(name) / str(seed) for seed in todo]
        for seed, folder in zip(todo, folders, strict=True):
            folder.mkdir()
            leaks.plant_nothing(folder / "data.npz", seed=seed)
        counts = [1 + seed % 2 for seed in todo]
        found = leaks.run_searches(folders, finalists=counts)
        for seed, searched in zip(todo, found, strict=True):
            result = searched.result["result"]
            row = {"estimate": seed, **leaks.held(searched), "over_s": searched.over}
            row["members"] = len(result["members"])
            row |= {"expected": result["expected"], "test_accuracy": result["test_accuracy"]}
            results.add(row)
            print(f"{seed}: {'held' if row['held'] else 'missed'}", file=sys.stderr)
    rows = [row for row in results.rows if "estimate" in row]
    held = sum(row["held"] for row in rows)
    width = statistics.median(row["width"] for row in rows)
    return {
        "estimates_wrong": held < HELD * len(rows) or width > WIDEST,
        "estimates": len(rows),
        "estimates_held": held,
        "estimates_within": sum(row["held"] and not row["above"] for row in rows),
        "estimates_width": round(width, 3),
        "estimate_searches_over_s": round(max(row["over_s"] for row in rows), 2),
    }


def budget_runs() -> list[BudgetRun]:
    """Return the searches whose ends are timed."""
    slow: Mishap = "slow disk" if can_slow_disks() else "none"
    runs = []
    for minutes in (1, 2, 5, 10):
        seconds = 60.0 * minutes
        runs += [
            BudgetRun(seconds, 0),
            BudgetRun(seconds, 1),
            BudgetRun(seconds, 2, "a worker killed"),
            BudgetRun(seconds, 3, slow),
            BudgetRun(seconds, 4, of_devices=True),
        ]
    return [*runs, BudgetRun(1800.0, 0, "a worker killed")]


def budgets(results: Results) -> Figures:
    """Time searches with a budget."""
    for run in budget_runs():
        if results.find(**run.key) is None:
            results.add(play(run))
            print(results.rows[-1], file=sys.stderr)
    rows = [row for row in results.rows if "budget_s" in row]
    print_table(rows, ("budget_s", "mishap", "of_devices", "wall_s", "over_s", "networks"))
    overs = [row["over_s"] for row in rows if row["over_s"] is not None]
    return {
        "budget_runs": len(rows),
        "budget_runs_without_a_model": sum(not row["usable"] for row in rows),
        "budget_runs_failed": sum(row["failure"] is not None for row in rows),
        "budget_runs_over_s": overs,
    }


def main() -> int:
    """Run the parts; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", action="store_true", help="install AutoGluon's core")
    parser.add_argument("--quick", action="store_true", help="selection and leaks, in small")
    parser.add_argument("--parts", default=",".join(PARTS), help="a,b,...")
    parser.add_argument("--budgets", default="1200,3600", help="seconds of `finals`")
    parser.add_argument("--seeds", default="0,1,2", help="of `finals`")
    parser.add_argument("--made", default=",".join(FINALS), help="of each search, by `finals`")
    parser.add_argument("--out", type=Path, help="JSON file; its runs are not run again")
    parser.add_argument(
        "--study",
        nargs=3,
        metavar=("STORE", "ARTIFACTS", "JOB"),
        help="a search on Fashion-MNIST, whose trials are selected from as well",
    )
    options = parser.parse_args()
    if options.prepare:
        problems = AUTOGLUON.install()
        print("\n".join(problems), file=sys.stderr)
        return int(bool(problems))
    parts = options.parts.split(",")
    if set(parts) - set(PARTS):
        parser.error(f"--parts must be among {', '.join(PARTS)}, but got {options.parts}")
    study = None
    if options.study is not None:
        store, artifacts, job = options.study
        study = (store, Path(artifacts), job)
    results = Results(options.out)
    figures: Figures = dict.fromkeys(
        ("selection_worse", "selection_speedup", "leaks_missed", "overrun_max_s")
    )
    late: list[float] = []
    if "selection" in parts:
        figures |= selection(quick=options.quick, study=study)
    if "leaks" in parts:
        with tempfile.TemporaryDirectory(prefix="athanor-") as name:
            figures |= leak_tests(Path(name), quick=options.quick)
        late.append(max(figures["leak_searches_over_s"]))
    if "protocols" in parts and not options.quick:
        with tempfile.TemporaryDirectory(prefix="athanor-") as name:
            figures |= protocol_tests(Path(name))
        late.append(max(row["over_s"] for row in figures["protocols"]))
    if "estimate" in parts and not options.quick:
        figures |= estimates(results)
        late.append(figures["estimate_searches_over_s"])
    if "budgets" in parts and not options.quick:
        figures |= budgets(results)
        late += figures["budget_runs_over_s"]
    if "finals" in parts and not options.quick:
        times = [float(each) for each in options.budgets.split(",")]
        seeds = [int(each) for each in options.seeds.split(",")]
        kept = None if options.out is None else options.out.with_suffix(".searches").absolute()
        wanted = options.made.split(",")
        figures["finals"] = finals(results, budgets=times, seeds=seeds, wanted=wanted, kept=kept)
    figures["overrun_max_s"] = max(late, default=None)
    print(json.dumps({**figures, "machine": machine()}))
    bad = [
        "selection_worse",
        "leaks_missed",
        "protocols_wrong",
        "estimates_wrong",
        "budget_runs_failed",
    ]
    return int(max(late, default=0.0) > LATE or any(figures.get(name) for name in bad))


if __name__ == "__main__":
    sys.exit(main())
