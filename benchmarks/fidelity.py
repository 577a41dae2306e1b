"""Which short trials tell what a candidate will be worth in a long training.

    python benchmarks/fidelity.py --quick                  a minute, nothing to conclude from
    python benchmarks/fidelity.py --out fidelity.json      half an hour on two cores

The prior, the prior without mirroring and random changes of the prior are trained on samples of
Fashion-MNIST's first 50,000 training rows: on many rows a few times, or on few rows many times,
always on about as many images. What each is worth is its accuracy on the other 10,000 after a
training on all 50,000, as long for each in processor time. Prints all scores, and for each kind of
trial the rank correlation with the worth. The test set is not read. The last line is one JSON
object.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.study import create_study

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from athanor.places import Places
from benchmarks.results import Results, machine, print_table
from benchmarks.rungs import rank_correlation, with_recipe
from benchmarks.side_by_side import fashion_mnist, side_by_side
from search.first_trials import first_trials
from search.folds import stratified_subset
from search.mutation import MutationSampler
from search.plan import MIN_SEARCH_VALIDATION, SEARCH_EPOCHS, HostSpeed
from spaces.cnn import CnnSpace
from spaces.complexity import measure_complexity
from spaces.recipe import Candidate
from workers.data import ImageData
from workers.device import DevicePlan
from workers.finalist import LARGEST_BATCH, MAX_EPOCHS
from workers.host_speed import host_speed
from workers.preparation import with_small_batches
from workers.rows import Rows
from workers.training import Diverged, Training

TRAIN_ROWS = 50_000  # the rest judges
IMAGES = 24_000  # that a trial of the prior trains on
EPOCHS = (4, 8, 12, 16, 24)
WORTH, EQUAL_TIMES = "worth", f"{SEARCH_EPOCHS}, equal times"
WIDTH, MAX_MACS = 24, 17_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """One training of one candidate.

    Attributes:
        kind: of trial: its epochs, or the long training.
        rows: of the sample.
        seconds: of processor time, for the long training.
    """

    number: int
    kind: str
    candidate: Candidate
    rows: int
    seconds: float | None
    seed: int
    plan: DevicePlan


def sample_candidates(count: int, *, seed: int, data: ImageData) -> list[tuple[Candidate, int]]:
    """Return the first trials and changes of the prior within the MAC limit, with their MACs."""
    space = with_small_batches(CnnSpace(), images=IMAGES)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = create_study(sampler=MutationSampler(seed=seed))
    for parameters in first_trials(space, size=WIDTH):
        study.enqueue_trial(parameters)
    found: list[tuple[Candidate, int]] = []
    while len(found) < count:
        candidate = space.suggest(study.ask(), side=min(data.image_shape[:2]), epochs=1)
        macs = measure_complexity(
            candidate.architecture, image_shape=data.image_shape, classes=data.classes
        ).macs
        if macs <= MAX_MACS and candidate not in [known for known, _ in found]:
            found.append((candidate, macs))
    return found


def measure(run: Run) -> dict[str, Any] | None:
    """Train; return the accuracy on the rows that judge, or None if the training diverged."""
    data = fashion_mnist()
    images, labels = data.train_images, data.train_labels
    chosen = stratified_subset(labels, np.arange(TRAIN_ROWS), size=run.rows, seed=0)
    judges = slice(TRAIN_ROWS, None if run.seconds else TRAIN_ROWS + MIN_SEARCH_VALIDATION)
    rows = Rows(images[chosen], labels[chosen], images[judges], labels[judges], data.classes)
    begin = time.process_time()
    end = begin + (run.seconds or math.inf)
    training = Training(
        run.candidate,
        rows,
        plan=run.plan,
        seed=run.seed,
        validate_every=None,
        clock=time.process_time,
    )
    try:
        training.run(
            on_epoch=lambda *_: None,
            interrupt=lambda: None,
            seconds_left=(lambda: end - time.process_time()) if run.seconds else None,
        )
    except Diverged:
        return None
    return {
        "accuracy": training.curve[-1].validation_accuracy,
        "train_accuracy": training.curve[-1].train_accuracy,
        "images": sum(epoch.images for epoch in training.curve),
        "seconds": round(time.process_time() - begin, 1),
    }


def runs_of(
    number: int, candidate: Candidate, macs: int, *, prior_macs: int, speed: HostSpeed, options: Any
) -> list[tuple[str, Candidate, int, float | None]]:
    """Return kind, candidate, rows and seconds of each training of a candidate."""
    trials = [(str(epochs), epochs, IMAGES // epochs) for epochs in options.epochs]
    equal = speed.equal_time_epochs(SEARCH_EPOCHS, of=prior_macs, macs=macs)
    trials.append((EQUAL_TIMES, equal, IMAGES // SEARCH_EPOCHS))
    short = [
        (kind, with_recipe(candidate, epochs=epochs), rows, None) for kind, epochs, rows in trials
    ]
    expected = options.seconds / (speed.seconds_per_image(macs) * TRAIN_ROWS)
    recipe = candidate.recipe.lengthened(  # as a finalist's
        epochs=MAX_EPOCHS,
        expected=expected,
        times=expected * TRAIN_ROWS / IMAGES,
        largest_batch=LARGEST_BATCH,
        augmentations=(),
    )
    long = candidate.model_copy(update={"recipe": recipe})
    return [*short, (WORTH, long, TRAIN_ROWS, options.seconds)]


def table_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a candidate: its accuracy by each kind of training, the best first."""
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault(row["number"], {"number": row["number"]})
        line[row["kind"]] = row["accuracy"]
    whole = [line for line in found.values() if line.get(WORTH) is not None]
    return sorted(whole, key=lambda line: -float(line[WORTH]))


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=150.0, help="of a long training")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS, help="of the trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file; finished trainings are kept")
    options = parser.parse_args()
    if options.quick:
        options.candidates, options.seconds, options.epochs = 3, 5.0, (4,)
    cache = Places.of(None, None).cache
    data = fashion_mnist()
    torch.set_num_threads(1)
    speed, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    if options.prepare:
        return
    results = Results(options.out)
    key = {"seed": options.seed, "worth_seconds": options.seconds}
    candidates = sample_candidates(options.candidates, seed=options.seed, data=data)
    runs = [
        Run(number, kind, made, rows, seconds, options.seed, plan)
        for number, (candidate, macs) in enumerate(candidates)
        for kind, made, rows, seconds in runs_of(
            number, candidate, macs, prior_macs=candidates[0][1], speed=speed, options=options
        )
        if results.find(number=number, kind=kind, **key) is None
    ]
    for run, found in side_by_side(measure, runs):
        print(f"candidate {run.number}, {run.kind}: {found or 'diverged'}", file=sys.stderr)
        if found is not None:
            text = json.dumps(run.candidate.to_json())
            results.add({"number": run.number, "kind": run.kind, **key, **found, "candidate": text})
    table = table_of([row for row in results.rows if key.items() <= row.items()])
    kinds = [*map(str, options.epochs), EQUAL_TIMES]
    print_table(table, ("number", WORTH, *kinds))
    worth = [line[WORTH] for line in table]
    correlations = {
        kind: round(rank_correlation([line.get(kind, 0.0) for line in table], worth), 3)
        for kind in kinds
    }
    print(json.dumps({"candidates": table, "correlations": correlations, "machine": machine()}))


if __name__ == "__main__":
    main()
