"""Who takes part in `time_to_accuracy.py`, how each is started, and what it must leave.

A contender is one process, started in an empty folder, with a budget that begins with it. What it
leaves are classes of the test images; they are compared with the labels here and nowhere else.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import AUTOKERAS
from benchmarks.preparing import DATA
from benchmarks.rivals.task import PREDICTIONS, RESULT
from benchmarks.side_by_side import fashion_mnist

HERE = Path(__file__).parent
ATHANOR = [sys.executable, "-m", "athanor"]
OUR_TRAINER = [sys.executable, str(HERE / "our_trainer.py")]
SEARCHES = {  # commands that take a budget and leave a model folder
    "athanor": [*ATHANOR, "search"],
    "fixed": [*ATHANOR, "search", "--trials", "1"],
    "athanor_their_trainer": [sys.executable, str(HERE / "search_with_their_trainer.py")],
}
SCRIPTS = {  # programs that take a deadline and leave classes
    "optuna": [sys.executable, str(HERE / "rivals" / "optuna_script.py")],
    "ray": [sys.executable, str(HERE / "rivals" / "ray_script.py")],
    "autokeras": [str(AUTOKERAS.python), str(HERE / "rivals" / "autokeras_script.py")],
    "random": [*OUR_TRAINER, "--search", "random"],
    "optuna_our_trainer": [*OUR_TRAINER, "--search", "tpe"],
}
ARMS = ("athanor", "fixed", *SCRIPTS, "athanor_their_trainer")
RIVALS = ("optuna", "ray", "autokeras")  # what a user would pick instead

MODEL, ANSWER, LOG = "model", "stdout.txt", "stderr.txt"
LATE = 1.1  # times the budget, beyond which a run is marked
HOPELESS, HOPELESS_SECONDS = 2.0, 60.0  # times the budget and as much more: then it is killed
LOADING_SECONDS = 300.0  # in which a model folder must predict the test images


class Failed(Exception):
    """A run left no predictions, for the reason given."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process to be measured: an arm, its budget in seconds, its seed."""

    arm: str
    budget: float
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """What tells the run's row from others."""
        return {"arm": self.arm, "budget_s": self.budget, "seed": self.seed}

    def __str__(self) -> str:
        return f"{self.arm}, {self.budget:g} s, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run's row for the record, and for each test image whether its class was right."""

    row: dict[str, Any]
    correct: NDArray[np.bool_] | None


def play(run: Run, *, rows: Path) -> Outcome:
    """Run a contender to its end; a failure is an outcome too.

    Args:
        rows: the file of training rows and test images that the scripts are given.
    """
    with tempfile.TemporaryDirectory(prefix="athanor-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        begin = time.monotonic()
        row: dict[str, Any] = {**run.key, "accuracy": None, "failure": None}
        correct: NDArray[np.bool_] | None = None
        try:
            _run_to_its_end(_command(run, rows), folder, limit=_limit(run))
            row["wall_s"] = round(time.monotonic() - begin, 2)
            classes, row["facts"] = _answer(run, folder)
            correct = classes == fashion_mnist().test_labels[: len(classes)]
            row["accuracy"] = float(correct.mean())
            _compare(row)
        except Failed as failure:
            row |= {"accuracy": None, "failure": str(failure)}
            row.setdefault("wall_s", round(time.monotonic() - begin, 2))
        row["late"] = row["wall_s"] > LATE * run.budget
        return Outcome(row, None if row["failure"] else correct)


def _command(run: Run, rows: Path) -> list[str]:
    if run.arm in SEARCHES:
        options = ["--data", DATA, "--budget", f"{run.budget:g}s", "--out", MODEL, "--json"]
        return [*SEARCHES[run.arm], *options, "--seed", str(run.seed)]
    deadline = time.time() + run.budget
    options = ["--data", str(rows), "--deadline", f"{deadline:.2f}", "--out", "."]
    return [*SCRIPTS[run.arm], *options, "--seed", str(run.seed)]


def _limit(run: Run) -> float:
    return HOPELESS * run.budget + HOPELESS_SECONDS


def _run_to_its_end(command: list[str], folder: Path, *, limit: float) -> None:
    """Run a command in a folder; nothing that it started outlives it."""
    with (folder / ANSWER).open("wb") as answer, (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=log,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"killed after {limit:.0f} seconds") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        raise Failed(f"exit status {status}: {_last_words(folder)}")


def _last_words(folder: Path) -> str:
    lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no message"


def _answer(run: Run, folder: Path) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return the class of each test image, and what the run says about itself."""
    if run.arm in SEARCHES:
        facts = _facts_of_search(folder)
        return _predict(folder), facts
    try:
        classes = np.load(folder / PREDICTIONS, allow_pickle=False).astype(np.int64)
        return classes, json.loads((folder / RESULT).read_text())
    except (OSError, ValueError) as failure:
        raise Failed(f"it left no answer: {failure}") from None


def _predict(folder: Path) -> NDArray[np.int64]:
    """Let the model folder predict the test images, as its user would; not part of the time."""
    command = [*ATHANOR, "predict", MODEL, DATA, "--json", "--out", PREDICTIONS]
    _run_to_its_end(command, folder, limit=LOADING_SECONDS)  # its output replaces the search's
    predicted = json.loads((folder / PREDICTIONS).read_text())["predictions"]
    numbers = {name: number for number, name in enumerate(fashion_mnist().class_names)}
    return np.array([numbers[row["class"]] for row in predicted])


def _facts_of_search(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / ANSWER).read_text().splitlines()[-1])
    result = found["result"]
    return {
        "trials": sum(bool(trial["curve"]) for trial in found["leaderboard"]),
        "folds": result["folds"],
        "out_of_fold_accuracy": result["out_of_fold_accuracy"],
        "test_accuracy": result["test_accuracy"],
        "finalists": [trial for trial in found["leaderboard"] if trial["folds"]],
        "phases": found["phases"],
    }


def _compare(row: dict[str, Any]) -> None:
    """Make sure that a search printed the accuracy that its model folder has."""
    said = row["facts"].get("test_accuracy", row["accuracy"])
    if abs(said - row["accuracy"]) > 1e-9:
        raise Failed(f"it said {said:.4f}, but its model has {row['accuracy']:.4f}")
