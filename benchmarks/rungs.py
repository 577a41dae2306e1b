"""Which early score tells best what a candidate will be worth: the rung schemes compared.

    python benchmarks/rungs.py --quick                          a minute, nothing to conclude from
    python benchmarks/rungs.py --candidates 24 --out rungs.json    half an hour on two cores

Random candidates of the space train as trials do, on as few of Fashion-MNIST's first 48,000
training rows and as many epochs. What each is worth is its accuracy on the other 12,000 after a
long training on all 48,000. Each scheme gives the candidate an early score at the rung, after a
quarter of the epochs:

    running      the trial's own schedule as it stands there, its rate far from annealed
    average      the same moment, predicted by an exponential average of the weights
    cooldown     a branch of a quarter as many steps in which the rate falls to zero; a promoted
                 trial goes on from before the branch (this is what our trials do)
    annealed     a schedule of its own that ends at the rung; a promoted trial starts anew

and `final` is the score of the whole trial. Prints for each the rank correlation with the worth,
the worth lost by keeping the best few by this score, and the cost in epochs of the sample, for
every trial and for each promoted one. The test set is not read. The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optuna.samplers import RandomSampler
from optuna.study import create_study

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a script

from athanor.places import Places
from benchmarks.results import Results, machine, print_table
from benchmarks.side_by_side import fashion_mnist, side_by_side
from search.folds import stratified_subset
from search.plan import COOLDOWN, MIN_SEARCH_VALIDATION, RUNG_SHARE, SEARCH_EPOCHS
from spaces.cnn import CnnSpace
from spaces.complexity import measure_complexity
from spaces.recipe import Candidate
from workers.averaging import WeightAverage
from workers.batches import Batch
from workers.data import ImageData
from workers.device import DevicePlan
from workers.epoch_report import EpochReport
from workers.finalist import LARGEST_BATCH
from workers.host_speed import host_speed
from workers.preparation import with_small_batches
from workers.rows import Rows
from workers.training import Diverged, Training

TRAIN_ROWS = 48_000  # the rest judges the long training
EPOCHS = SEARCH_EPOCHS  # of a trial
RUNG = max(1, round(RUNG_SHARE * EPOCHS))  # the epoch after which it is judged
MAX_MACS = 10_000_000
KEEP = 3
COSTS = {  # epochs of the sample: for every trial, and more for a promoted one
    "running": (float(RUNG), float(EPOCHS - RUNG)),
    "average": (float(RUNG), float(EPOCHS - RUNG)),
    "cooldown": (RUNG * (1.0 + COOLDOWN), float(EPOCHS - RUNG)),
    "annealed": (float(RUNG), float(EPOCHS)),
    "final": (float(EPOCHS), 0.0),
}


def sample_candidates(count: int, *, sample: int, seed: int, data: ImageData) -> list[Candidate]:
    """Return the prior and random candidates of the space within the MAC limit."""
    space = with_small_batches(CnnSpace(width=(8, 12, 16, 24)), images=EPOCHS * sample)
    study = create_study(sampler=RandomSampler(seed=seed))
    study.enqueue_trial(space.prior(size=16))
    candidates: list[Candidate] = []
    while len(candidates) < count:
        candidate = space.suggest(study.ask(), side=28, epochs=EPOCHS)
        cost = measure_complexity(
            candidate.architecture, image_shape=data.image_shape, classes=data.classes
        )
        if cost.macs <= MAX_MACS:
            candidates.append(candidate)
    return candidates


def with_recipe(candidate: Candidate, **changes: Any) -> Candidate:
    """Return the candidate with some fields of its recipe changed."""
    recipe = candidate.recipe.model_copy(update=changes)
    return candidate.model_copy(update={"recipe": recipe})


def accuracy(training: Training) -> float:
    """Return the share of validation rows that the network predicts now."""
    rows = training.rows
    probabilities = training.predict(rows.validation_images, training.plan)
    return float((probabilities.argmax(1) == rows.validation_labels).mean())


def running_scores(candidate: Candidate, rows: Rows, plan: DevicePlan) -> dict[str, float]:
    """Train a whole trial; score its rung as it is and by averaged weights."""
    training = Averaged(with_recipe(candidate, averaging="none"), rows, plan=plan)
    scores: dict[str, float] = {}

    def look(_: Training, report: EpochReport) -> None:
        if report.epoch == RUNG:
            scores["running"] = accuracy(training)
            with training.beside.in_place():
                scores["average"] = accuracy(training)

    training.run(on_epoch=look, interrupt=lambda: None)
    averages = candidate.recipe.averaging == "ema"  # then the trial predicts with these weights
    with training.beside.in_place() if averages else nullcontext():
        return {**scores, "final": accuracy(training)}


class Averaged(Training):
    """A training whose weights are averaged besides."""

    def __init__(self, candidate: Candidate, rows: Rows, *, plan: DevicePlan) -> None:
        super().__init__(candidate, rows, plan=plan, seed=0, validate_every=None)
        self.beside = WeightAverage(self.network, "ema")

    def take_step(self, batch: Batch) -> None:
        """Train on one batch, then average."""
        super().take_step(batch)
        self.beside.update(step=self.schedule.step, total_steps=self.schedule.total_steps)


class Reached(Exception):
    """The training has come to its rung."""


def cooldown_score(candidate: Candidate, rows: Rows, plan: DevicePlan) -> float:
    """Train to the rung as trials do, whose score there is that of a branch."""
    training = Training(candidate, rows, plan=plan, seed=0, validate_every=None, rung=RUNG)

    def stop(_: Training, report: EpochReport) -> None:
        if report.epoch == RUNG:
            raise Reached

    with suppress(Reached):
        training.run(on_epoch=stop, interrupt=lambda: None)
    return training.curve[-1].validation_accuracy or 0.0


def annealed_score(candidate: Candidate, rows: Rows, plan: DevicePlan) -> float:
    """Train by the candidate's own schedule to its end."""
    training = Training(candidate, rows, plan=plan, seed=0, validate_every=None)
    training.run(on_epoch=lambda *_: None, interrupt=lambda: None)
    return training.curve[-1].validation_accuracy or 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """One candidate to be measured."""

    number: int
    candidate: Candidate
    sample: int
    worth_epochs: int
    plan: DevicePlan


def measure(run: Run) -> dict[str, float] | None:
    """Return the candidate's early scores, its final one, and its worth; None if it diverged."""
    sample, whole = split(fashion_mnist(), sample=run.sample)
    try:
        scores = running_scores(run.candidate, sample, run.plan)
        scores["cooldown"] = cooldown_score(run.candidate, sample, run.plan)
        short = with_recipe(run.candidate, epochs=RUNG)
        scores["annealed"] = annealed_score(short, sample, run.plan)
        recipe = run.candidate.recipe.lengthened(  # as a finalist's
            epochs=run.worth_epochs,
            expected=run.worth_epochs,
            times=run.worth_epochs * TRAIN_ROWS / (EPOCHS * run.sample),
            largest_batch=LARGEST_BATCH,
            augmentations=(),
        )
        long = run.candidate.model_copy(update={"recipe": recipe})
        scores["worth"] = annealed_score(long, whole, run.plan)
    except Diverged:
        return None
    return scores


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Return Spearman's rho; ties share their rank."""
    ranks = [
        np.array([sum(o < v for o in x) + 0.5 * sum(o == v for o in x) for v in x])
        for x in (first, second)
    ]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a scheme: correlation, worth lost, cost."""
    worth = [row["worth"] for row in rows]
    table = []
    for scheme, (every, promoted) in COSTS.items():
        scores = [row[scheme] for row in rows]
        kept = np.argsort(scores)[::-1][:KEEP]
        table.append(
            {
                "scheme": scheme,
                "correlation": round(rank_correlation(scores, worth), 3),
                "worth_lost": round(max(worth) - max(worth[index] for index in kept), 4),
                "mean_score": round(statistics.fmean(scores), 4),
                "epochs_each": every,
                "epochs_promoted": promoted,
            }
        )
    return table


def split(data: ImageData, *, sample: int) -> tuple[Rows, Rows]:
    """Return the rows of a trial, and those of the long training."""
    images, labels = data.train_images, data.train_labels
    first = np.arange(TRAIN_ROWS)
    chosen = stratified_subset(labels, first, size=sample, seed=0)
    judging = (images[TRAIN_ROWS:], labels[TRAIN_ROWS:])
    few = (judging[0][:MIN_SEARCH_VALIDATION], judging[1][:MIN_SEARCH_VALIDATION])
    return (
        Rows(images[chosen], labels[chosen], *few, classes=data.classes),
        Rows(images[:TRAIN_ROWS], labels[:TRAIN_ROWS], *judging, classes=data.classes),
    )


def main() -> None:
    """Parse the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute")
    parser.add_argument("--prepare", action="store_true", help="only put the data into the cache")
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--sample", type=int, default=1_500, help="training rows of a trial")
    parser.add_argument("--worth-epochs", type=int, default=6, help="of the long training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file; finished candidates are kept")
    options = parser.parse_args()
    if options.quick:
        options.candidates, options.sample, options.worth_epochs = 3, 600, 1
    cache = Places.of(None, None).cache
    data = fashion_mnist()
    torch.set_num_threads(1)
    _, plan = host_speed(cache=cache, progress=lambda text: print(text, file=sys.stderr))
    if options.prepare:
        return
    results = Results(options.out)
    key = {"seed": options.seed, "sample": options.sample, "worth_epochs": options.worth_epochs}
    candidates = sample_candidates(
        options.candidates, sample=options.sample, seed=options.seed, data=data
    )
    runs = [
        Run(number, candidate, options.sample, options.worth_epochs, plan)
        for number, candidate in enumerate(candidates)
        if results.find(candidate=number, **key) is None
    ]
    for run, scores in side_by_side(measure, runs):
        print(f"candidate {run.number}: {scores or 'diverged'}", file=sys.stderr)
        if scores is not None:
            network = str(run.candidate.architecture)
            results.add({"candidate": run.number, **key, **scores, "network": network})
    table = summary([row for row in results.rows if key.items() <= row.items()])
    print_table(table, tuple(table[0]))
    print(json.dumps({"candidates": len(results.rows), "schemes": table, "machine": machine()}))


if __name__ == "__main__":
    main()
