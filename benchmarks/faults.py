"""Faults of every kind, given to real searches on real stores, and what they cost.

    python benchmarks/faults.py --quick      under a minute: rows 1, 2, 3 and 9 in small
    python benchmarks/faults.py              all rows, about an hour; --rows 1,2 for some of them
    python benchmarks/faults.py --rivals     the same faults for plain Optuna and for Ray Tune
    python benchmarks/faults.py --scale      many workers, many trials

Workers are the product's own; they train small networks on the digits that scikit-learn brings.
The database itself notes, by triggers, who took over from whom and what was changed after its
end; the workers' own notes tell which epochs were trained twice. Prints a table and, as its last
line, one JSON object:

    faults                that were given
    faults_that_hit       those that hit a worker which held unfinished work
    takeovers             by other workers; equals faults_that_hit
    trials_lost           trials that were asked for and never ended, or are missing
    double_results        ended trials or folds that were changed, reports that were overwritten
    epochs_repeated_max   epochs that a worker repeated of those before it, at most
    late_writes           rows and files that count, changed by a worker that had been replaced
    rows                  all of this for each row of the table

The exit status is 1 if anything was lost, done twice or written late.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from benchmarks.mishaps import rows
from benchmarks.mishaps.counting import Count
from benchmarks.mishaps.places import Ground
from benchmarks.mishaps.rows import Row
from benchmarks.mishaps.staff import start_server
from benchmarks.results import Results, machine, print_table

COLUMNS = (
    "row", "what", "store", "runs", "faults", "hits", "takeovers", "trials_lost",
    "double_results", "epochs_repeated_max", "late_writes", "reports_lost", "not_landed",
    "errors", "clean",
)  # fmt: skip
SHORT_LEASE, USUAL_LEASE = 6.0, 20.0  # seconds


def measure(chosen: list[Row], results: Results, ground: Ground, *, at_once: int) -> None:
    """Run rows that have not been run yet; keep each as it comes."""
    todo = [row for row in chosen if results.find(**_key(row)) is None]

    def timed(row: Row) -> dict[str, Any]:
        begin = time.perf_counter()
        count: Count = row.run(ground)
        seconds = round(time.perf_counter() - begin, 1)
        return {**_key(row), **asdict(count), "clean": count.clean, "seconds": seconds}

    with ThreadPoolExecutor(at_once) as pool:
        for future in as_completed([pool.submit(timed, row) for row in todo]):
            row = future.result()
            results.add(row)
            clean = "clean" if row["clean"] else "NOT CLEAN"
            name = f"{row['row']}: {row['what']} ({row['store']})"
            print(f"{name}: {clean}, {row['seconds']:g} s", file=sys.stderr, flush=True)


def _key(row: Row) -> dict[str, Any]:
    return {"row": row.number, "what": row.what, "store": row.store}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the rows up."""

    def total(name: str) -> int:
        return sum(int(row[name]) for row in found)

    return {
        "faults": total("faults"),
        "faults_that_hit": total("hits"),
        "takeovers": total("takeovers"),
        "trials_lost": total("trials_lost"),
        "double_results": total("double_results"),
        "epochs_repeated_max": max((int(row["epochs_repeated_max"]) for row in found), default=0),
        "late_writes": total("late_writes"),
        "reports_lost": total("reports_lost"),
        "errors": total("errors"),
        "not_landed": total("not_landed"),
    }


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="rows 1, 2, 3 and 9 in small")
    parser.add_argument("--rivals", action="store_true", help="plain Optuna and Ray Tune instead")
    parser.add_argument("--scale", action="store_true", help="many workers and trials instead")
    parser.add_argument("--rows", default="", help="numbers of rows: 1,2,...")
    parser.add_argument("--out", type=Path, help="JSON file; its rows are not run again")
    parser.add_argument("--keep", action="store_true", help="leave stores and messages behind")
    return parser.parse_args()


def chosen_rows(asked: argparse.Namespace) -> list[Row]:
    """Return the rows to run."""
    kinds: dict[str, Callable[[], list[Row]]] = {
        "quick": rows.quick,
        "rivals": rows.rivals,
        "scale": rows.scale,
    }
    make = next((kinds[name] for name in kinds if getattr(asked, name)), rows.full)
    numbers = {int(number) for number in asked.rows.split(",") if number}
    return [row for row in make() if not numbers or row.number in numbers]


def main() -> int:
    """Run rows, print them; return the exit status."""
    asked = options()
    os.environ["OMP_NUM_THREADS"] = "1"
    start_server()
    folder = tempfile.mkdtemp(prefix="athanor-faults-")
    results = Results(asked.out)
    chosen = chosen_rows(asked)
    ground = Ground(Path(folder), lease_seconds=SHORT_LEASE if asked.quick else USUAL_LEASE)
    try:
        measure(chosen, results, ground, at_once=len(chosen) if asked.quick else 1)
    finally:
        ground.close()
    rows_found = [results.find(**_key(row)) for row in chosen]
    found = [row for row in rows_found if row is not None]
    print_table(found, COLUMNS)
    print(json.dumps({**summary(found), "rows": found, "machine": machine()}))
    if asked.keep:
        print(folder, file=sys.stderr)
    return 0 if asked.rivals or all(row["clean"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
