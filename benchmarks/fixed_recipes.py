"""Two fixed networks and recipes, trained on all training rows, on the real test set.

    python benchmarks/fixed_recipes.py --quick                        a minute: one epoch each
    python benchmarks/fixed_recipes.py --seeds 0 1 2 --out fixed.json   about two hours on two cores

`small` has at most 0.3 million parameters and 15 epochs, `medium` at most 0.8 million and as many
images as 30 epochs have: its epochs leave easy rows out, so they are more and shorter. They
were chosen on held-out training rows (docs/recipe.md); each run opens the test set once, after its
last step. Prints a table and, as its last line, one JSON object.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from athanor.places import Places
from benchmarks.results import Results, machine, print_table
from benchmarks.side_by_side import fashion_mnist, side_by_side
from spaces.architecture import Architecture, Head, Stage, Stem
from spaces.complexity import measure_complexity
from spaces.recipe import Candidate, Recipe
from workers.device import DevicePlan
from workers.host_speed import host_speed
from workers.rows import Rows
from workers.training import Training


def network(*widths: int) -> Architecture:
    """Return the plain network: whitening stem, two convolutions a stage, global max pooling."""
    return Architecture(
        stem=Stem(kind="whitening", width=18),
        stages=tuple(Stage(depth=2, width=width) for width in widths),
        head=Head(pooling="max", scale=0.25),
        views="flip",
    )


RECIPE = Recipe(learning_rate=0.2, weight_decay=5e-3, augmentation="flip", epochs=15)
CANDIDATES = {
    "small": Candidate(architecture=network(32, 64, 128), recipe=RECIPE),
    "medium": Candidate(
        architecture=network(48, 96, 192),
        recipe=RECIPE.model_copy(
            update={
                "augmentation": "flip_shift",
                "augment_until": 0.75,
                "learning_rate": 0.3,
                "skip": 0.75,
                "epochs": 30,
            }
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One training to be measured."""

    name: str
    seed: int
    epochs: int
    plan: DevicePlan


def measure(run: Run) -> dict[str, Any]:
    """Train on all training rows; return the accuracy on the test rows."""
    data = fashion_mnist()
    candidate = CANDIDATES[run.name]
    recipe = candidate.recipe.model_copy(update={"epochs": run.epochs})
    training = Training(
        candidate.model_copy(update={"recipe": recipe}),
        Rows(
            data.train_images, data.train_labels, data.test_images, data.test_labels, data.classes
        ),
        plan=run.plan,
        seed=run.seed,
        evaluation=run.plan.model_copy(update={"dtype": "float32"}),
        validate_every=None,
    )
    begin = time.perf_counter()
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    return {
        "name": run.name,
        "seed": run.seed,
        "epochs": run.epochs,
        "seconds": round(time.perf_counter() - begin, 1),
        "train_accuracy": training.curve[-1].train_accuracy,
        "test_accuracy": training.curve[-1].validation_accuracy,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a candidate: its size, and the mean and range over the seeds."""
    table = []
    for name, candidate in CANDIDATES.items():
        mine = [row for row in rows if row["name"] == name]
        if not mine:
            continue
        scores = [row["test_accuracy"] for row in mine]
        cost = measure_complexity(candidate.architecture, image_shape=(28, 28, 1), classes=10)
        table.append(
            {
                "name": name,
                "parameters": cost.parameters,
                "mmacs": round(cost.macs / 1e6, 2),
                "epochs": mine[0]["epochs"],
                "seeds": len(mine),
                "test_accuracy": round(statistics.fmean(scores), 5),
                "lowest": min(scores),
                "highest": max(scores),
                "seconds": round(statistics.fmean(row["seconds"] for row in mine)),
            }
        )
    return table


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch of the small network")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--names", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES))
    parser.add_argument("--out", type=Path, help="JSON file; its finished runs are not run again")
    options = parser.parse_args()
    fashion_mnist()
    torch.set_num_threads(1)
    cache = Places.of(None, None).cache
    _, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    if options.prepare:
        return
    if options.quick:
        options.names, options.seeds = ["small"], [0]
    results = Results(options.out)
    wanted = [
        (name, seed, 1 if options.quick else CANDIDATES[name].recipe.epochs)
        for name in options.names
        for seed in options.seeds
    ]
    runs = [
        Run(name, seed, epochs, plan)
        for name, seed, epochs in wanted
        if results.find(name=name, seed=seed, epochs=epochs) is None
    ]
    for run, row in side_by_side(measure, runs):
        results.add(row)
        print(f"{run.name}, seed {run.seed}: {row['test_accuracy']}", file=sys.stderr)
    rows = [row for row in results.rows if (row["name"], row["seed"], row["epochs"]) in wanted]
    table = summary(rows)
    print_table(table, tuple(table[0]))
    print(json.dumps({"recipes": table, "machine": machine()}))


if __name__ == "__main__":
    main()
