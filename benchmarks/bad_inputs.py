"""Inputs that are corrupt, hostile or odd: each is refused in one line, or skipped and said so.

`python benchmarks/bad_inputs.py` runs `athanor data check` on each in a process of its own, and
compares its peak memory and its time with those of a good input. Its last line is a JSON object
with `bad_inputs` and `bad_inputs_mishandled`.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import hostile
from benchmarks.results import print_table

MORE_MEMORY = 256.0  # MiB above a good input's peak
MORE_SECONDS = 5.0  # beyond a good input's
LIMIT_SECONDS = 1800.0
SHOWN = 110  # characters of what is said, in the table
MEASURED = """
import json, resource, subprocess, sys, time
begin = time.monotonic()
done = subprocess.run(json.loads(sys.argv[1]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
found = {"status": done.returncode, "text": done.stdout.decode(errors="replace")}
print(json.dumps({**found, "seconds": time.monotonic() - begin, "memory": peak}))
"""
REFUSED, TAKEN = 2, 0  # exit statuses


@dataclass(frozen=True)
class Case:
    """An input: what is wrong, how it is made, and what is to be said of it.

    Attributes:
        make: writes it into a folder and returns what follows `athanor`.
        said: a regular expression that is found in what the command prints.
        status: its exit status: 2 where it is refused, 0 where something is skipped or taken.
    """

    name: str
    make: Callable[[Path], Sequence[str]]
    said: str
    status: int


def _cases() -> list[Case]:
    skipped = [
        Case(name, hostile.one_file(file, content), said, TAKEN)
        for name, file, content, said in hostile.FILES
    ]
    all_25 = r'"training_images": 17, "test_images": 8'
    taken = [
        Case(name, hostile.one_file(file, content), all_25, TAKEN)
        for name, file, content in hostile.ODD_FILES
    ]
    refused = [Case(name, make, said, REFUSED) for name, make, said in hostile.REFUSED]
    return [*skipped, *taken, *refused]


CASES = _cases()


@dataclass(frozen=True)
class Run:
    """What became of a command."""

    status: int
    text: str
    seconds: float
    memory: float


def run(arguments: Sequence[str], folder: Path) -> Run:
    """Run the command line in a folder, and measure it; memory in MiB.

    A small process starts it: a process's peak memory counts what it was forked from.
    """
    command = [sys.executable, "-m", "athanor", *arguments]
    done = subprocess.run(
        [sys.executable, "-S", "-c", MEASURED, json.dumps(command)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
        env={
            **os.environ,
            "ATHANOR_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        },
    )
    return Run(**json.loads(done.stdout))


def run_here(arguments: Sequence[str], folder: Path) -> Run:
    """Run the command line in this process, which is quick; its memory is not measured."""
    from athanor import cli

    said, begin = io.StringIO(), time.monotonic()
    before = (sys.argv, os.environ.get("ATHANOR_CACHE"))
    sys.argv, os.environ["ATHANOR_CACHE"] = ["athanor", *arguments], str(folder / "cache")
    try:
        with contextlib.chdir(folder), redirect_stdout(said), redirect_stderr(said):
            status = cli.run()
    finally:
        sys.argv = before[0]
        os.environ.pop("ATHANOR_CACHE")
        if before[1] is not None:
            os.environ["ATHANOR_CACHE"] = before[1]
    return Run(status, said.getvalue(), time.monotonic() - begin, 0.0)


def judge(case: Case, found: Run, good: Run, left: list[str]) -> str:
    """Say what is wrong with what became of an input; nothing if it was handled well."""
    lines = found.text.strip().splitlines()
    if found.status != case.status:
        return f"status {found.status}: {lines[-1] if lines else ''}"
    if "Traceback" in found.text or not re.search(case.said, found.text):
        return f"said {lines[-1] if lines else 'nothing'}"
    if case.status == REFUSED and len([line for line in lines if "error:" in line]) != 1:
        return f"{len(lines)} lines"
    if found.memory - good.memory > MORE_MEMORY:
        return f"{found.memory - good.memory:.0f} MiB more memory"
    if found.seconds - good.seconds > MORE_SECONDS:
        return f"{found.seconds - good.seconds:.1f} s longer"
    return f"left {', '.join(left)}" if left else ""


def half_written(folder: Path) -> list[str]:
    """Return what a command has left that is no whole result."""
    decoded = folder / "cache" / "decoded"
    left = [
        path.name
        for path in (decoded.iterdir() if decoded.is_dir() else [])
        if not path.name.endswith(".lock") and not (path / "index.json").is_file()
    ]
    return left + [p.name for p in folder.rglob("*.tmp")]


def bad_inputs(
    folder: Path, cases: Sequence[Case] = CASES, *, run: Callable[..., Run] = run
) -> dict[str, Any]:
    """Try all inputs; return the figures, and a row for each input.

    Args:
        folder: an empty one, to work in.
        run: how a command is run: in a process of its own, or here.
    """
    (folder / "good").mkdir()
    command = hostile.good(folder / "good")
    run(command, folder / "good")  # whose start warms the disk's cache
    shutil.rmtree(folder / "good" / "cache")
    good = run(command, folder / "good")
    assert good.status == TAKEN, good.text
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        found = run(case.make(place), place)
        wrong = judge(case, found, good, half_written(place))
        match = re.search(f'[^"\n]*({case.said}).*', found.text)
        rows.append(
            {
                "input": case.name,
                "status": found.status,
                "MiB more": round(found.memory - good.memory),
                "s more": round(found.seconds - good.seconds, 1),
                "wrong": wrong,
                "said": (match.group() if match else found.text.strip()[-SHOWN:])[:SHOWN],
            }
        )
    return {
        "rows": rows,
        "bad_inputs": len(rows),
        "bad_inputs_mishandled": sum(bool(row["wrong"]) for row in rows),
        "good_seconds": round(good.seconds, 2),
        "good_MiB": round(good.memory),
        "most_MiB_more": max(row["MiB more"] for row in rows),
        "most_seconds_more": max(row["s more"] for row in rows),
    }


def main() -> None:
    """Print a table, and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = bad_inputs(Path(folder))
    columns = ("input", "status", "MiB more", "s more", "wrong", "said")
    print_table(figures.pop("rows"), columns)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))
    sys.exit(1 if figures["bad_inputs_mishandled"] else 0)


if __name__ == "__main__":
    main()
