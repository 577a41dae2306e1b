"""What each part of the recipe gives on Fashion-MNIST at equal processor time.

    python benchmarks/recipe.py --quick                    one minute: two arms of 20 seconds
    python benchmarks/recipe.py --seconds 140 --seeds 0 1 2 --out recipe.json

Every arm is the default network and recipe with one change. All train on the first 50,000
training rows for the same processor seconds on one thread, with the schedule fitted to them,
and predict the other 10,000; the test set is not read. Prints a table and, as its last line,
one JSON object: for each arm the mean accuracy over the seeds, its spread, and the difference
from the default.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FixedTrial

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from athanor.places import Places
from benchmarks.results import Results, machine, print_table
from benchmarks.side_by_side import fashion_mnist, side_by_side
from spaces.architecture import Head, Stem
from spaces.cnn import CnnSpace
from spaces.recipe import Candidate
from workers.device import DevicePlan
from workers.finalist import LARGEST_BATCH
from workers.host_speed import host_speed
from workers.rows import Rows
from workers.training import Training

TRAIN_ROWS = 50_000
MAX_EPOCHS = 1000  # far beyond the time
SIZE = 16  # channels of the first stage: what a fold of ten minutes affords
TRIAL_BATCH = 64  # of a search of ten minutes, whose trials are short
EPOCHS = 10  # that a fold of ten minutes is expected to have
QUICK_SECONDS, QUICK_ARMS = 20.0, ("default", "convolution stem")


def default() -> Candidate:
    """Return the prior as a finalist of ten minutes trains it, for as long as there is time."""
    space = CnnSpace.from_json({"recipe": {"batch_sizes": [TRIAL_BATCH]}})
    trial = FixedTrial(space.prior(size=SIZE))
    candidate = space.suggest(trial, side=28, epochs=1)
    recipe = candidate.recipe.lengthened(
        epochs=MAX_EPOCHS,
        expected=EPOCHS,
        times=(LARGEST_BATCH / TRIAL_BATCH) ** 2,
        largest_batch=LARGEST_BATCH,
        augmentations=space.recipe.augmentations,
    )
    return candidate.model_copy(update={"recipe": recipe})


DEFAULT = default()
ARMS: dict[str, dict[str, dict[str, Any]]] = {  # name -> changed fields
    "default": {},
    "convolution stem": {"architecture": {"stem": Stem(width=16)}},
    "one view": {"architecture": {"views": "one"}},
    "silu": {"architecture": {"activation": "silu"}},
    "max pooling": {"architecture": {"head": Head(pooling="max", scale=0.25)}},
    "no augmentation": {
        "recipe": {"augmentation": "none"},
        "architecture": {"views": "one"},
    },
    "flip and shift": {
        "recipe": {"augmentation": "flip_shift"},
        "architecture": {"views": "flip_shift"},
    },
    "flip, shift, erase": {
        "recipe": {"augmentation": "flip_shift_erase"},
        "architecture": {"views": "flip_shift"},
    },
    "flip and affine": {"recipe": {"augmentation": "flip_affine"}},
    "flip, affine, jitter": {"recipe": {"augmentation": "flip_affine_jitter"}},
    "shifts until the end": {"recipe": {"augmentation": "flip_shift", "augment_until": 1.0}},
    "mixup 0.2": {"recipe": {"mixup": 0.2}},
    "no label smoothing": {"recipe": {"label_smoothing": 0.0}},
    "cosine schedule": {"recipe": {"schedule": "cosine"}},
    "constant rate": {"recipe": {"schedule": "constant"}},
    "norm bias rate 8": {"recipe": {"norm_bias_rate": 8.0}},
    "no row left out": {"recipe": {"skip": 0.0}},
    "half of the easy rows left out": {"recipe": {"skip": 0.5}},
    "rate 0.2": {"recipe": {"learning_rate": 0.2}},
    "ema": {"recipe": {"averaging": "ema"}},
    "lookahead": {"recipe": {"averaging": "lookahead"}},
    "no weight decay": {"recipe": {"weight_decay": 0.0}},
    "batch 128": {"recipe": {"batch_size": 128, "learning_rate": 0.28}},
    "batch 512": {"recipe": {"batch_size": 512, "learning_rate": 0.56}},
    "adamw": {"recipe": {"optimizer": "adamw", "learning_rate": 0.006, "weight_decay": 0.05}},
}


def changed(arm: str) -> Candidate:
    """Return the default with the arm's change."""
    changes = ARMS[arm]
    return Candidate(
        architecture=DEFAULT.architecture.model_copy(update=changes.get("architecture")),
        recipe=DEFAULT.recipe.model_copy(update=changes.get("recipe")),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """One training to be measured."""

    arm: str
    seed: int
    seconds: float
    plan: DevicePlan


def measure(run: Run) -> dict[str, Any]:
    """Train one arm for its processor seconds; return its figures."""
    data = fashion_mnist()
    images, labels = data.train_images, data.train_labels
    train, held_out = slice(None, TRAIN_ROWS), slice(TRAIN_ROWS, None)
    rows = Rows(images[train], labels[train], images[held_out], labels[held_out], data.classes)
    training = Training(
        changed(run.arm),
        rows,
        plan=run.plan,
        seed=run.seed,
        validate_every=None,
        clock=time.process_time,
    )
    end = time.process_time() + run.seconds
    training.run(
        on_epoch=lambda *_: None,
        interrupt=lambda: None,
        seconds_left=lambda: end - time.process_time(),
    )
    last = training.curve[-1]
    return {
        "arm": run.arm,
        "seed": run.seed,
        "seconds": run.seconds,
        "epochs": round(training.schedule.step / training.batches.per_epoch, 2),
        "train_accuracy": last.train_accuracy,
        "validation_accuracy": last.validation_accuracy,
        "validation_loss": last.validation_loss,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row an arm: mean over the seeds, spread, and difference from the default."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        scores.setdefault(row["arm"], []).append(row["validation_accuracy"])
    base = statistics.fmean(scores["default"]) if "default" in scores else None
    return [
        {
            "arm": arm,
            "seeds": len(values),
            "accuracy": round(statistics.fmean(values), 5),
            "lowest": min(values),
            "highest": max(values),
            "difference": None if base is None else round(statistics.fmean(values) - base, 5),
        }
        for arm, values in scores.items()
    ]


def plot(table: list[dict[str, Any]], path: Path) -> None:
    """Draw each arm's mean and range over the seeds, best first."""
    from matplotlib import pyplot

    table = sorted(table, key=lambda row: row["accuracy"])
    figure, axes = pyplot.subplots(figsize=(7, 0.3 * len(table) + 1), layout="constrained")
    for place, row in enumerate(table):
        axes.plot([row["lowest"], row["highest"]], [place, place], color="0.6")
        axes.plot(row["accuracy"], place, "o", color="C1" if row["arm"] == "default" else "C0")
    axes.set_yticks(range(len(table)), [row["arm"] for row in table])
    axes.set_xlabel("accuracy on held-out training rows: mean and range over the seeds")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two arms of 20 seconds")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--seconds", type=float, default=140.0, help="of processor time an arm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, help="JSON file; its finished arms are not run again")
    parser.add_argument("--plot", type=Path, help="picture of the differences")
    options = parser.parse_args()
    cache = Places.of(None, None).cache
    fashion_mnist()
    torch.set_num_threads(1)
    _, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    if options.prepare:
        return
    arms = QUICK_ARMS if options.quick else options.arms
    seconds = QUICK_SECONDS if options.quick else options.seconds
    results = Results(options.out)
    runs = [
        Run(arm, seed, seconds, plan)
        for seed in options.seeds  # arms alternate within a seed
        for arm in arms
        if results.find(arm=arm, seed=seed, seconds=seconds) is None
    ]
    minutes = len(runs) * seconds / 60 / len(os.sched_getaffinity(0))
    print(f"about {minutes:.0f} minutes", file=sys.stderr)
    for run, row in side_by_side(measure, runs):
        results.add(row)
        print(f"{run.arm}, seed {run.seed}: {row['validation_accuracy']}", file=sys.stderr)
    table = summary([row for row in results.rows if row["seconds"] == seconds])
    if options.plot is not None:
        plot(table, options.plot)
    print_table(table, ("arm", "seeds", "accuracy", "lowest", "highest", "difference"))
    print(json.dumps({"seconds": seconds, "arms": table, "machine": machine()}))


if __name__ == "__main__":
    main()
