"""Ensemble selection: ours, AutoGluon's and a transcript, on the same out-of-fold predictions."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as theirs

from benchmarks.environments import AUTOGLUON
from search.folds import Folds, stratified_subset
from search.metrics import METRICS, MetricName
from search.predictions import OutOfFoldPredictions
from search.selection import ROUNDS, SCORE_DECIMALS, greedy_selection
from search.store import StudyStore
from workers.files import PREDICTIONS, JobFiles

SCRIPT = Path(__file__).parent / "rivals" / "autogluon_selection.py"
COMPARED: tuple[MetricName, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
ROUNDED = 10.0**-SCORE_DECIMALS  # selections that compare rounded scores agree to within it
LESS_THAN_ONE = 1.0 - 1e-6

Weights = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Models to choose from.

    Attributes:
        probabilities: (models, rows, classes).
        targets: (rows,).
    """

    name: str
    metric: MetricName
    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]

    def objective(self, weights: Weights) -> float:
        """Return the score of models that are weighed so (models,)."""
        mean = np.tensordot(weights, self.probabilities.astype(np.float64), axes=1)
        return METRICS[self.metric].score(self.targets, mean)

    def save(self, folder: Path) -> None:
        """Write the problem for AutoGluon, which fails where rounding lifts a mean above 1."""
        np.savez(
            folder / f"{self.name}.npz",
            probabilities=self.probabilities * np.float32(LESS_THAN_ONE),
            targets=self.targets,
            metric=np.array(self.metric),
        )


def random_problems(count: int) -> list[Problem]:
    """Draw models of different worth that mostly agree, by every metric in turn."""
    return [
        drawn(
            f"random-{number:03d}",
            COMPARED[number % len(COMPARED)],
            models=int(size[0]),
            rows=int(size[1]),
            classes=int(size[2]),
            seed=number,
        )
        for number, size in enumerate(
            np.random.default_rng(0).integers((2, 60, 2), (31, 2500, 11), (count, 3))
        )
    ]


def drawn(
    name: str, metric: MetricName, *, models: int, rows: int, classes: int, seed: int
) -> Problem:
    """Draw one problem: some rows are easy for all, some for none."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, rows)
    easy = random.gamma(1.5, 3.0, (rows, 1))
    probabilities = np.empty((models, rows, classes), dtype=np.float32)
    for model in range(models):
        skill, noise = random.uniform(0.7, 1.2), random.normal(0.0, 2.0, (rows, classes))
        logits = np.eye(classes)[targets] * easy * skill + noise
        powers = np.exp(logits - logits.max(1, keepdims=True))
        probabilities[model] = powers / powers.sum(1, keepdims=True)
    return Problem(name, metric, probabilities, targets)


def of_search(store: StudyStore, artifacts: Path, job_id: str) -> list[Problem]:
    """Return what the complete trials of a search gave for the rows that judged them."""
    job = store.jobs.get(job_id)
    assert job.plan is not None
    files = JobFiles(artifacts, job_id)
    trials = [record for record in store.trials(job).leaderboard() if record.files is not None]
    probabilities = np.stack(
        [np.load(files.folder / str(record.files) / PREDICTIONS) for record in trials]
    )
    folds = Folds.load(files.folds(job.plan.folds_hash))
    return [
        Problem(f"{job.spec.title}-{metric}", metric, probabilities, _judged(job, folds))
        for metric in COMPARED
    ]


def _judged(job: Any, folds: Folds) -> NDArray[np.int64]:
    """Return the classes of the rows that judged a job's trials."""
    from benchmarks.side_by_side import fashion_mnist

    labels = fashion_mnist().train_labels
    rows = stratified_subset(
        labels,
        folds.folds[0].validation_rows,
        size=job.plan.validation_rows,
        seed=job.spec.seed,
    )
    judged: NDArray[np.int64] = labels[rows]
    return judged


def ours(problem: Problem) -> tuple[Weights, float]:
    """Select; return weights (models,) and seconds."""
    names = [f"{number:04d}" for number in range(len(problem.probabilities))]
    once = np.ones(len(problem.targets), dtype=np.int32)
    predictions = {
        name: OutOfFoldPredictions(
            targets=problem.targets, probabilities=probabilities, repeats=once
        )
        for name, probabilities in zip(names, problem.probabilities, strict=True)
    }
    begin = time.perf_counter()
    ensemble = greedy_selection(predictions=predictions, metric=METRICS[problem.metric], seed=0)
    seconds = time.perf_counter() - begin
    chosen = dict(zip(ensemble.members, ensemble.weights, strict=True))
    return np.array([chosen.get(name, 0.0) for name in names]), seconds


def transcript(problem: Problem) -> Weights:
    """Select as the paper says, with scikit-learn's metrics; ties go to the lower log-loss."""
    targets, models = problem.targets, problem.probabilities.astype(np.float64)
    classes = models.shape[2]

    def score(mean: NDArray[np.float64]) -> float:
        predicted = mean.argmax(1)
        if problem.metric == "accuracy":
            return float(theirs.accuracy_score(targets, predicted))
        if problem.metric == "balanced_accuracy":
            return float(theirs.balanced_accuracy_score(targets, predicted))
        if problem.metric == "macro_f1":
            return float(theirs.f1_score(targets, predicted, average="macro"))
        return -log_loss(mean)

    def log_loss(mean: NDArray[np.float64]) -> float:
        clipped = mean.clip(np.finfo(np.float32).eps)
        clipped /= clipped.sum(1, keepdims=True)
        return float(theirs.log_loss(targets, clipped, labels=range(classes)))

    bag, scores = list[int](), list[float]()
    for size in range(1, ROUNDS + 1):
        means = (models[bag].sum(0) + models) / size
        tries = np.array([score(mean) for mean in means])
        tries = tries.round(SCORE_DECIMALS) if bag else tries
        tied = np.flatnonzero(tries == tries.max())
        used = [model for model in tied if model in bag]
        bag.append(int(min(used or tied, key=lambda model: log_loss(means[model]))))
        scores.append(round(float(tries.max()), SCORE_DECIMALS))
    kept = Counter(bag[: int(np.argmax(scores)) + 1])
    return np.array([kept[model] / kept.total() for model in range(len(models))])


@dataclass(frozen=True, slots=True)
class Rival:
    """What AutoGluon chose; `by_chance` with ties broken as it does by default."""

    weights: Weights
    by_chance: Weights
    seconds: float


def autogluon(problems: Sequence[Problem], *, repeats: int = 1) -> dict[str, Rival]:
    """Let AutoGluon solve problems in its own environment; return its answers by name."""
    with tempfile.TemporaryDirectory(prefix="athanor-") as name:
        for problem in problems:
            problem.save(Path(name))
        command = [str(AUTOGLUON.python), str(SCRIPT), name, str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        answer["problem"]: Rival(
            np.array(answer["weights"]), np.array(answer["weights_by_chance"]), answer["seconds"]
        )
        for answer in answers
    }


def compare(problems: Sequence[Problem], *, rival: bool) -> list[dict[str, Any]]:
    """Return a row a problem: by how much our objective is above the others'."""
    answers = autogluon(problems) if rival else {}
    rows = []
    for problem in problems:
        count = len(problem.probabilities)
        mine = problem.objective(ours(problem)[0])
        row: dict[str, Any] = {
            "problem": problem.name,
            "metric": problem.metric,
            "models": count,
            "ours": mine,
            "over_transcript": mine - problem.objective(transcript(problem)),
            "over_best_single": mine - max(map(problem.objective, np.eye(count))),
        }
        if rival:
            answer = answers[problem.name]
            row["over_autogluon"] = mine - problem.objective(answer.weights)
            row["over_autogluon_by_chance"] = mine - problem.objective(answer.by_chance)
        rows.append(row)
    return rows


def worse(rows: Sequence[dict[str, Any]]) -> int:
    """Count the problems on which ours is worse than AutoGluon, the transcript or one model."""
    names = ("over_transcript", "over_best_single", "over_autogluon")
    return sum(any(row.get(name, 0.0) < -ROUNDED for name in names) for row in rows)


def speedup(*, models: int, rows: int, rival: bool, times: int) -> dict[str, Any]:
    """Time ours and AutoGluon's, or the transcript's, in turn; return the median ratio."""
    problem = drawn("speed", "accuracy", models=models, rows=rows, classes=10, seed=0)
    pairs = []
    for _ in range(times):
        mine = ours(problem)[1]
        if rival:
            other = autogluon([problem])["speed"].seconds
        else:
            begin = time.perf_counter()
            transcript(problem)
            other = time.perf_counter() - begin
        pairs.append((mine, other))
        print(f"ours {mine:.2f} s, the other {other:.2f} s", file=sys.stderr)
    return {
        "models": models,
        "rows": rows,
        "against": "AutoGluon" if rival else "transcript",
        "seconds": round(statistics.median(mine for mine, _ in pairs), 3),
        "speedup": round(statistics.median(other / mine for mine, other in pairs), 2),
    }
