"""Searches compared over a table of real trainings: what each finds for how many seconds.

    python benchmarks/search_table.py --prepare             an hour on two cores: trains the table
    python benchmarks/search_table.py --quick               half a minute: the simulation
    python benchmarks/search_table.py --out search_table.json --plot search_table.png
    python benchmarks/search_table.py --effects effects.png    what mattered among the candidates

The table is a full factorial of candidates, architecture and recipe, each trained for real on
8,000 of Fashion-MNIST's training rows (`benchmarks/factorial.py`); a tenth with a second seed,
which says how far equal trainings differ. Every search is simulated over it by its own code
(Optuna's samplers and pruners, the rule of Ray's ASHA, ours), with a clock that counts seconds of
training. Prints the regret (the best cell's accuracy less the best found) at 5, 10, 25 and 50
trainings' worth of seconds; how many seconds `auto` takes to what random search finds in 50
trainings' worth; the same for parts of it alone; and eight workers at once. A difference whose 95 %
interval over the seeds holds 0 is a tie; one that is smaller than two trainings of a candidate
differ is said to be within noise. The test set is not read. The last line is one JSON object.
"""

import argparse
import functools
import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import create_trial

from athanor.effect_plots import draw_effects
from athanor.places import Places
from benchmarks.bootstrap import interval_of_mean
from benchmarks.factorial import (
    AXES,
    EPOCHS,
    TABLE,
    Cell,
    Record,
    Run,
    architecture_of,
    cells,
    load,
    measure,
    retimed,
    save,
    time_epoch,
    values_of,
)
from benchmarks.results import machine, print_table
from benchmarks.side_by_side import fashion_mnist, side_by_side
from benchmarks.simulation import CONTENDERS, SAMPLERS_ALONE, Outcome, simulate
from search.influence import influences
from workers.host_speed import host_speed

TRAININGS = (5, 10, 25, 50)
SEEDS = 50
SECOND_SEED_EVERY = 10  # cells
WORKERS = 8
SAVED_EVERY = 10  # trainings
OURS = "auto"


def prepare(path: Path) -> None:
    """Train the cells that the table lacks."""
    fashion_mnist()
    torch.set_num_threads(1)
    cache = Places.of(None, None).cache
    _, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    records = load(path)
    known = {(record.cell, record.seed) for record in records}
    every = cells()
    wanted = [(cell, 0) for cell in every] + [(cell, 1) for cell in every[::SECOND_SEED_EVERY]]
    runs = [Run(cell, seed, plan) for cell, seed in wanted if (cell, seed) not in known]
    for number, (_, record) in enumerate(side_by_side(measure, runs), start=1):
        records.append(record)
        if number % SAVED_EVERY == 0 or number == len(runs):
            save(records, path)
            print(f"{number} of {len(runs)} trainings", file=sys.stderr)
    networks = sorted({architecture_of(cell) for cell in every})
    timed = side_by_side(time_epoch, [Run(cell, 0, plan) for cell in networks for _ in range(2)])
    epochs: dict[Cell, float] = {}
    for run, seconds in timed:  # other work only ever slows an epoch down
        epochs[run.cell] = min(seconds, epochs.get(run.cell, seconds))
    save(retimed(records, epochs), path)


@dataclass(frozen=True)
class Field:
    """The table, and what follows from it."""

    table: Mapping[Cell, Record]
    noise: float | None

    @classmethod
    def of(cls, records: list[Record]) -> "Field":
        """Split the records into the table and the second seeds, whose differences are noise."""
        table = {record.cell: record for record in records if record.seed == 0}
        pairs = [record.final - table[record.cell].final for record in records if record.seed]
        noise = None
        if len(pairs) > 1:
            noise = math.sqrt(statistics.fmean(pair**2 for pair in pairs) / 2.0)
        return cls(table=table, noise=noise)

    @property
    def best(self) -> float:
        """The accuracy of the best cell."""
        return max(record.final for record in self.table.values())

    @property
    def training(self) -> float:
        """Seconds of a training, on average."""
        return statistics.fmean(record.seconds[-1] for record in self.table.values())

    @property
    def seconds(self) -> float:
        """Seconds of all trainings of a search."""
        return max(TRAININGS) * self.training


@dataclass(frozen=True, slots=True)
class Search:
    """One search to be simulated over the table of a file."""

    contender: str
    seed: int
    workers: int
    table: Path


@functools.cache
def _field(path: Path) -> Field:
    return Field.of(load(path))


def search(asked: Search) -> Outcome:
    """Simulate a search."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    field = _field(asked.table)
    return simulate(
        {**CONTENDERS, **SAMPLERS_ALONE}[asked.contender],
        field.table,
        seed=asked.seed,
        seconds=field.seconds / asked.workers,
        workers=asked.workers,
    )


def searches(
    contenders: Iterable[str], *, seeds: int, table: Path, workers: int = 1
) -> dict[str, list[Outcome]]:
    """Simulate a search of each contender with each of so many seeds; return them by name."""
    asked = [Search(name, seed, workers, table) for name in contenders for seed in range(seeds)]
    found = dict(side_by_side(search, asked))
    outcomes: dict[str, list[Outcome]] = {}
    for each in asked:
        outcomes.setdefault(each.contender, []).append(found[each])
    return outcomes


def regrets(field: Field, outcomes: Mapping[str, list[Outcome]]) -> list[dict[str, Any]]:
    """Return a row a search: mean regret at each number of trainings, and against ours."""
    rows = []
    for name, searches in outcomes.items():
        row: dict[str, Any] = {"search": name}
        for trainings in TRAININGS:
            seconds = trainings * field.training
            theirs = np.array([[field.best - each.best_at(seconds)] for each in searches])
            low, high = interval_of_mean(theirs)
            row[str(trainings)] = round(float(theirs.mean()), 5)
            row[f"{trainings}_interval"] = [round(low, 5), round(high, 5)]
            mine = np.array([[field.best - each.best_at(seconds)] for each in outcomes[OURS]])
            row[f"{trainings}_verdict"] = verdict(theirs - mine, noise=field.noise)
        rows.append(row)
    return rows


def verdict(differences: Any, *, noise: float | None) -> str:
    """Say whether a search is worse than ours, better, or tied with it.

    A difference may be sure and yet smaller than that of two trainings of one candidate.
    """
    low, high = interval_of_mean(differences)
    mean = float(differences.mean())
    if low <= 0.0 <= high:
        return "tie"
    side = "worse" if mean > 0.0 else "better"
    return side if abs(mean) > (noise or 0.0) else f"{side}, within noise"


def ratios(
    field: Field, ours: list[Outcome], random: list[Outcome], *, less: float = 0.0
) -> list[float]:
    """Return for each seed our seconds to what random search found, as a share of its seconds.

    Args:
        less: accuracy that may be missing to it.
    """
    whole = field.seconds
    pairs = zip(ours, random, strict=True)
    return [mine.seconds_to(theirs.best_at(whole) - less) / whole for mine, theirs in pairs]


def finite(share: float) -> float | None:
    """Return a share for the record; None if what was looked for was never found."""
    return round(float(share), 4) if math.isfinite(share) else None


def plot(field: Field, outcomes: Mapping[str, list[Outcome]], path: Path) -> None:
    """Draw the mean regret over the seconds, with its interval."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    trainings = np.geomspace(1.0, max(TRAININGS), 40)
    for index, (name, searches) in enumerate(outcomes.items()):
        found = np.array(
            [[each.best_at(n * field.training) for n in trainings] for each in searches]
        )
        regret = 100.0 * (field.best - found)
        shown = (found > 0.0).all(0)  # from where every seed has a finished training
        bounds = np.array([interval_of_mean(column[:, None]) for column in regret.T])
        axes.plot(trainings[shown], regret.mean(0)[shown], color=f"C{index}", label=name)
        axes.fill_between(
            trainings[shown], *bounds[shown].T, color=f"C{index}", alpha=0.15, linewidth=0
        )
    axes.set_xscale("log")
    axes.set_xticks(TRAININGS, [str(n) for n in TRAININGS])
    axes.set_yscale("log")
    axes.set_xlabel("seconds of training, in whole trainings")
    axes.set_ylabel("points below the best cell: mean and 95 % interval")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)


def main() -> int:
    """Train the table, or simulate over it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", action="store_true", help="train what the table lacks")
    parser.add_argument("--quick", action="store_true", help="not the parts of our search")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, help="JSON file to write the figures to")
    parser.add_argument("--plot", type=Path, help="picture of the regrets")
    parser.add_argument("--effects", type=Path, help="only draw what mattered in the table")
    options = parser.parse_args()
    if options.prepare:
        prepare(options.table)
        return 0
    records = load(options.table)
    if {record.cell for record in records} < set(cells()):
        print("--prepare must first train the table", file=sys.stderr)
        nothing = {"seconds_ratio_vs_random": None, "regret": None, "seeds": None}
        print(json.dumps(nothing))
        return 1
    if options.effects is not None:
        effects(_field(options.table), options.effects)
        return 0
    figures = compare(
        options.table,
        seeds=options.seeds,
        parts=not options.quick,
        picture=options.plot,
    )
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")
    print(json.dumps(figures))
    return 0


def effects(field: Field, path: Path) -> None:
    """Draw what mattered among the candidates of the table."""
    study = optuna.create_study(direction="maximize")
    spaces: dict[str, BaseDistribution] = {
        axis: CategoricalDistribution(values) for axis, values in AXES.items()
    }
    for cell, record in field.table.items():
        study.add_trial(
            create_trial(params=values_of(cell), distributions=spaces, value=record.final)
        )
    draw_effects(influences(study), path)


def compare(path: Path, *, seeds: int, parts: bool, picture: Path | None) -> dict[str, Any]:
    """Simulate, print the tables, return the figures.

    Args:
        parts: whether to tell the parts of our search apart, too.
    """
    field = _field(path)
    outcomes = searches(CONTENDERS, seeds=seeds, table=path)
    shares = ratios(field, outcomes[OURS], outcomes["random"])
    near = ratios(field, outcomes[OURS], outcomes["random"], less=field.noise or 0.0)
    alone = searches(SAMPLERS_ALONE if parts else (), seeds=seeds, table=path)
    table = regrets(field, outcomes)
    told = regrets(field, {OURS: outcomes[OURS], **alone})[1:]
    names = ("search", *(str(n) for n in TRAININGS), *(f"{n}_verdict" for n in TRAININGS))
    print_table(table + told, names)
    together = []
    at_once = searches(CONTENDERS if parts else (), seeds=seeds, table=path, workers=WORKERS)
    for name, parallel in at_once.items():
        together.append(
            {
                "search": name,
                "different": round(statistics.fmean(each.batch for each in parallel), 3),
                "regret": round(
                    field.best
                    - statistics.fmean(each.best_at(field.seconds / WORKERS) for each in parallel),
                    5,
                ),
            }
        )
    if together:
        print_table(together, tuple(together[0]))
    if picture is not None:
        plot(field, outcomes, picture)
    return {
        "seconds_ratio_vs_random": finite(statistics.median(shares)),
        "seconds_ratio_within_noise": finite(statistics.median(near)),
        "seconds_ratio_quartiles": [finite(q) for q in np.quantile(shares, (0.25, 0.75))],
        "regret": {row["search"]: {str(n): row[str(n)] for n in TRAININGS} for row in table},
        "verdicts": {
            row["search"]: {str(n): row[f"{n}_verdict"] for n in TRAININGS} for row in table
        },
        "intervals": {
            row["search"]: {str(n): row[f"{n}_interval"] for n in TRAININGS} for row in table
        },
        "alone": {row["search"]: {str(n): row[str(n)] for n in TRAININGS} for row in told},
        "eight_workers": together,
        "best": field.best,
        "noise": None if field.noise is None else round(field.noise, 5),
        "training_seconds": round(field.training, 2),
        "cells": len(field.table),
        "epochs": EPOCHS,
        "seeds": seeds,
    }


if __name__ == "__main__":
    sys.exit(main())
