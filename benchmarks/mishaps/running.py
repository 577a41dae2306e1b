"""Runs rows of the table, keeps what they counted, and adds it up."""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.mishaps import rows
from benchmarks.mishaps.counting import Count
from benchmarks.mishaps.places import Ground
from benchmarks.mishaps.rows import Row
from benchmarks.results import Results, machine, print_table

COLUMNS = (
    "row", "what", "store", "runs", "faults", "hits", "takeovers", "trials_lost",
    "double_results", "epochs_repeated_max", "late_writes", "reports_lost", "not_landed",
    "errors", "clean",
)  # fmt: skip
SHORT_LEASE, USUAL_LEASE = 6.0, 20.0  # seconds
AT_ONCE = 4  # quick rows, which mostly wait for leases to expire


def measure(chosen: list[Row], results: Results, ground: Ground, *, at_once: int) -> None:
    """Run rows that have not been run yet; keep each as it comes, but for those that break."""
    todo = [row for row in chosen if results.find(**_key(row)) is None]

    def timed(row: Row) -> dict[str, Any]:
        begin = time.perf_counter()
        count: Count = row.run(ground)
        seconds = round(time.perf_counter() - begin, 1)
        return {**_key(row), **asdict(count), "clean": count.clean, "seconds": seconds}

    with ThreadPoolExecutor(at_once) as pool:
        futures = {pool.submit(timed, row): row for row in todo}
        for future in as_completed(futures):
            row = futures[future]
            name = f"{row.number}: {row.what} ({row.store})"
            try:
                found = future.result()
            except Exception:
                print(f"{name}: BROKEN\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                continue
            results.add(found)
            clean = "clean" if found["clean"] else "NOT CLEAN"
            print(f"{name}: {clean}, {found['seconds']:g} s", file=sys.stderr, flush=True)


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


def run(asked: argparse.Namespace) -> int:
    """Run the rows that are asked for, print them; return the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="athanor-faults-"))
    folder.chmod(0o755)  # the database server is somebody else
    results = Results(asked.out)
    chosen = chosen_rows(asked)
    ground = Ground(folder, lease_seconds=SHORT_LEASE if asked.quick else USUAL_LEASE)
    try:
        measure(chosen, results, ground, at_once=AT_ONCE if asked.quick else 1)
    finally:
        ground.close()
        if asked.keep:
            print(folder, file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    rows_found = [results.find(**_key(row)) for row in chosen]
    found = [row for row in rows_found if row is not None]
    print_table(found, COLUMNS, markdown=asked.markdown)
    print(json.dumps({**summary(found), "rows": found, "machine": machine()}))
    whole = len(found) == len(chosen)
    return 0 if whole and (asked.rivals or all(row["clean"] for row in found)) else 1
