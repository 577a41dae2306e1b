"""Every cell of a full factorial of candidates, trained for real on Fashion-MNIST, as a table.

The table is committed (`figures/factorial.json`), so that searches can be simulated over it in
seconds, on any machine, with as many seeds as wanted (`benchmarks/search_table.py`).
"""

import itertools
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import machine
from benchmarks.side_by_side import fashion_mnist
from search.folds import stratified_subset
from search.plan import COOLDOWN
from spaces.architecture import Architecture, Stage, Stem
from spaces.recipe import Candidate, Recipe
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.rows import Rows
from workers.training import Diverged, Training

TRAIN_ROWS, SAMPLE, JUDGES = 50_000, 8000, 5000  # of Fashion-MNIST's training rows
EPOCHS, RUNG = 8, 2
DIVERGED = 0.1  # the accuracy of a network that guesses
AXES: dict[str, tuple[Any, ...]] = {
    "width": (8, 12, 16),
    "depth": (1, 2),
    "block": ("plain", "residual"),
    "stem": ("whitening", "convolution"),
    "activation": ("relu", "silu"),
    "learning_rate": (0.03, 0.1, 0.3, 0.9),
    "augmentation": ("flip", "none"),
}
ARCHITECTURE = ("width", "depth", "block", "stem", "activation")  # axes of the network
ORDERED = ("width", "depth", "learning_rate")  # axes whose neighbours are alike
PRIOR = {
    "width": 16,
    "depth": 2,
    "block": "plain",
    "stem": "whitening",
    "activation": "relu",
    "learning_rate": 0.3,
    "augmentation": "flip",
}
TABLE = Path(__file__).parent / "figures" / "factorial.json"
Cell = tuple[int, ...]  # for each axis the place of its value


@dataclass(frozen=True, slots=True)
class Record:
    """What one training of a cell gave.

    Attributes:
        scores: accuracy on the rows that judge after each epoch, as it stood there.
        rung: the same after the rung's epoch and a branch in which the rate fell to zero.
        seconds: of training until the end of each epoch; validations and the branch apart. Those of
            an undisturbed epoch of the network, times the epochs, once the table is whole.
        branch: seconds of that branch.
    """

    cell: Cell
    seed: int
    scores: tuple[float, ...]
    rung: float
    seconds: tuple[float, ...]
    branch: float

    @property
    def final(self) -> float:
        """The accuracy after the whole training."""
        return self.scores[-1]


def cells() -> list[Cell]:
    """Return all cells, in order."""
    return list(itertools.product(*(range(len(values)) for values in AXES.values())))


def cell_of(values: Mapping[str, Any]) -> Cell:
    """Return the cell that has these values."""
    return tuple(choices.index(values[axis]) for axis, choices in AXES.items())


def values_of(cell: Cell) -> dict[str, Any]:
    """Return a cell's value on each axis."""
    return {axis: choices[place] for (axis, choices), place in zip(AXES.items(), cell, strict=True)}


def candidate_of(cell: Cell) -> Candidate:
    """Return the network and recipe of a cell."""
    chosen = values_of(cell)
    width, flips = chosen["width"], chosen["augmentation"] == "flip"
    stages = tuple(
        Stage(block=chosen["block"], depth=chosen["depth"], width=width * 2**index)
        for index in range(3)
    )
    architecture = Architecture(
        stem=Stem(kind=chosen["stem"], width=32 if chosen["stem"] == "whitening" else width),
        stages=stages,
        activation=chosen["activation"],
        views="flip" if flips else "one",
    )
    recipe = Recipe(
        learning_rate=chosen["learning_rate"],
        weight_decay=5e-3,
        augmentation=chosen["augmentation"],
        batch_size=64,
        epochs=EPOCHS,
    )
    return Candidate(architecture=architecture, recipe=recipe)


@dataclass(frozen=True, slots=True)
class Run:
    """One training to be done."""

    cell: Cell
    seed: int
    plan: DevicePlan


def measure(run: Run) -> Record:
    """Train a cell, validating every epoch, and the rung's branch besides."""
    data = fashion_mnist()
    images, labels = data.train_images, data.train_labels
    chosen = stratified_subset(labels, np.arange(TRAIN_ROWS), size=SAMPLE, seed=0)
    judges = slice(TRAIN_ROWS, TRAIN_ROWS + JUDGES)
    rows = Rows(images[chosen], labels[chosen], images[judges], labels[judges], data.classes)
    training = Training(
        candidate_of(run.cell), rows, plan=run.plan, seed=run.seed, validate_every=1, rung=RUNG
    )
    scores: list[float] = []
    seconds: list[float] = []
    branch, begin = 0.0, time.perf_counter()

    def on_epoch(training: Training, report: EpochReport) -> None:
        nonlocal branch, begin
        assert report.validation_accuracy is not None and report.validation_seconds is not None
        score = report.validation_accuracy
        if report.epoch == RUNG:
            took = time.perf_counter() - begin
            branch = took - report.train_seconds - report.validation_seconds
            running = training.predict(rows.validation_images, run.plan)
            score = float((running.argmax(1) == rows.validation_labels).mean())
        scores.append(score)
        seconds.append(training.seconds)
        begin = time.perf_counter()

    try:
        training.run(on_epoch=on_epoch, interrupt=lambda: None)
    except Diverged:
        done = training.seconds or time.perf_counter() - begin
        scores += [DIVERGED] * (EPOCHS - len(scores))
        seconds += [done] * (EPOCHS - len(seconds))
    rung = training.curve[RUNG - 1].validation_accuracy if len(training.curve) >= RUNG else None
    return Record(
        cell=run.cell,
        seed=run.seed,
        scores=tuple(round(score, 4) for score in scores),
        rung=round(rung or DIVERGED, 4),
        seconds=tuple(round(each, 2) for each in seconds),
        branch=round(branch, 2),
    )


def time_epoch(run: Run) -> float:
    """Return the seconds of a cell's second epoch: what it takes where nothing is made anew.

    A table takes long to be trained, and whatever else a machine did meanwhile is in its seconds.
    """
    data = fashion_mnist()
    images, labels = data.train_images, data.train_labels
    chosen = stratified_subset(labels, np.arange(TRAIN_ROWS), size=SAMPLE, seed=0)
    rows = Rows(images[chosen], labels[chosen], images[:1], labels[:1], data.classes)
    candidate = candidate_of(run.cell)
    recipe = candidate.recipe.model_copy(update={"epochs": 2, "skip": 0.0})
    training = Training(
        candidate.model_copy(update={"recipe": recipe}),
        rows,
        plan=run.plan,
        seed=run.seed,
        validate_every=None,
    )
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    return training.curve[-1].train_seconds


def architecture_of(cell: Cell) -> Cell:
    """Return the cell of the same network whose recipe is the first one; it takes as long."""
    return tuple(
        place if axis in ARCHITECTURE else 0 for axis, place in zip(AXES, cell, strict=True)
    )


def retimed(records: Iterable[Record], epochs: Mapping[Cell, float]) -> list[Record]:
    """Return the records with the seconds of undisturbed epochs, by network."""
    found = []
    for record in records:
        epoch = epochs[architecture_of(record.cell)]
        seconds = tuple(round(epoch * number, 3) for number in range(1, EPOCHS + 1))
        branch = round(COOLDOWN * RUNG * epoch, 3)
        found.append(replace(record, seconds=seconds, branch=branch))
    return found


def save(records: Iterable[Record], path: Path) -> None:
    """Write the table, a line a training."""
    ordered = sorted(records, key=lambda record: (record.seed, record.cell))
    lines = ",\n".join(json.dumps(asdict(record)) for record in ordered)
    head = json.dumps({"axes": AXES, "machine": machine()})[:-1]
    path.write_text(f'{head}, "records": [\n{lines}\n]}}\n')


def load(path: Path) -> list[Record]:
    """Read a table; an empty one if there is none.

    Raises:
        ValueError: the table is that of other axes.
    """
    if not path.exists():
        return []
    table = json.loads(path.read_text())
    if table["axes"] != json.loads(json.dumps(AXES)):
        raise ValueError(f"the axes of {path} must be {AXES}, but are {table['axes']}")
    return [
        Record(
            cell=tuple(row["cell"]),
            seed=row["seed"],
            scores=tuple(row["scores"]),
            rung=row["rung"],
            seconds=tuple(row["seconds"]),
            branch=row["branch"],
        )
        for row in table["records"]
    ]
