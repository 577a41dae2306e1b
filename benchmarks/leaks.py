"""Data with something planted that must not reach a score, and searches that are given them.

shuffled    the digits with their labels dealt out anew: nothing can be learnt, so whatever is
            predicted above chance has leaked; a fifth of the images are there twice
groups      each group of images has a pattern of its own, and a label by chance: whoever
            knows the pattern from training knows the label
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from search.folds import Folds
from search.grouping import image_hashes
from search.store import StudyStore
from workers.data import ImageData, load_data
from workers.files import JobFiles

COPIED = 0.2  # of the digits
GROUPS, GROUP_ROWS, GROUP_CLASSES = 120, 12, 3
SIGMAS = 3.5  # standard deviations of chance, beyond which something has leaked
BUDGET = 20.0  # seconds
HOPELESS = 120.0  # seconds more, after which a search is ended
SMALL = ["--workers", "1", "--folds", "2", "--trials", "6"]


@dataclass(frozen=True, slots=True)
class Searched:
    """A search that has ended: what it printed, what it left, how long it took."""

    result: dict[str, Any]
    folder: Path
    seconds: float

    @property
    def over(self) -> float:
        """Seconds by which the command took longer than its budget."""
        return self.seconds - float(self.result["budget"])

    def data(self) -> ImageData:
        """Load the data that it was given."""
        return load_data(str(self.folder / "data.npz"), cache=self.folder)

    def folds(self) -> Folds:
        """Load the folds that it used."""
        runs = self.folder / "athanor-runs"
        store = StudyStore(f"sqlite:///{runs}/athanor.db")
        job = store.jobs.get(self.result["job"])
        store.close()
        assert job.plan is not None
        return Folds.load(JobFiles(runs / "artifacts", job.id).folds(job.plan.folds_hash))


def plant_shuffled(path: Path, *, seed: int = 0) -> None:
    """Write the digits with shuffled labels, a part of them twice."""
    from sklearn.datasets import load_digits

    random = np.random.default_rng(seed)
    images = (load_digits().images * 15.9).astype(np.uint8)
    labels = random.permutation(load_digits().target)
    twice = random.choice(len(images), round(COPIED * len(images)), replace=False)
    images, labels = (
        np.concatenate([images, images[twice]]),
        np.concatenate([labels, labels[twice]]),
    )
    order = random.permutation(len(images))
    np.savez(path, images=images[order], labels=labels[order])


def plant_groups(path: Path, *, told: bool, seed: int = 0) -> None:
    """Write images whose group tells the label.

    Args:
        told: the file says which group each image belongs to.
    """
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), GROUP_ROWS)
    labels = random.permutation(np.arange(GROUPS) % GROUP_CLASSES)[groups]
    patterns = random.integers(0, 256, (GROUPS, 8, 8))
    noise = random.normal(0.0, 20.0, (len(groups), 8, 8))
    images = (patterns[groups] + noise).clip(0, 255).astype(np.uint8)
    if told:
        np.savez(path, images=images, labels=labels, groups=groups)
    else:
        np.savez(path, images=images, labels=labels)


def plant_nothing(path: Path, *, seed: int) -> None:
    """Write the digits, three tenths of them, other ones each time, as the test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = (digits.images[order] * 15.9).astype(np.uint8), digits.target[order]
    test = len(order) * 3 // 10
    np.savez(
        path,
        train_images=images[test:],
        train_labels=labels[test:],
        test_images=images[:test],
        test_labels=labels[:test],
    )


def run_search(
    folder: Path, *, core: int, budget: float = BUDGET, seed: int = 0, finalists: int = 1
) -> Searched:
    """Search on the file `data.npz` of a folder, on one core."""
    command = [
        "taskset",
        "--cpu-list",
        str(core),
        sys.executable,
        "-m",
        "athanor",
        "search",
        "--data",
        "data.npz",
        "--json",
    ]
    command += ["--budget", f"{budget:g}s", "--seed", str(seed), *SMALL]
    command += ["--finalists", str(finalists)]
    root = Path(__file__).resolve().parents[1]
    begin = time.monotonic()
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=budget + HOPELESS,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    seconds = time.monotonic() - begin
    if done.returncode:
        raise RuntimeError(f"a search must end well, but got {done.stderr[-500:]}")
    return Searched(json.loads(done.stdout.splitlines()[-1]), folder, seconds)


def run_searches(
    folders: Sequence[Path], *, budget: float = BUDGET, finalists: Sequence[int] = ()
) -> Iterator[Searched]:
    """Search in each folder, one on each core at a time; yield them in order.

    Two searches that share their cores wait for each other most of the time.

    Args:
        finalists: of each search; one by default.
    """
    free: SimpleQueue[int] = SimpleQueue()
    for core in os.sched_getaffinity(0):
        free.put(core)

    def search(folder: Path, count: int) -> Searched:
        core = free.get()
        try:
            return run_search(folder, budget=budget, core=core, finalists=count)
        finally:
            free.put(core)

    with ThreadPoolExecutor(free.qsize()) as pool:
        yield from pool.map(search, folders, finalists or [1] * len(folders))


def above_chance(share: float, *, chance: float, independent: int) -> bool:
    """Whether so many independent rows (or groups) would hardly give such an accuracy by chance."""
    return share > chance + SIGMAS * math.sqrt(chance * (1.0 - chance) / independent)


def shuffled_leaks(searched: Searched) -> dict[str, bool]:
    """Say of each thing that must not happen to shuffled labels whether it did."""
    result, data, folds = searched.result["result"], searched.data(), searched.folds()
    chance = float(np.bincount(data.train_labels).max() / len(data.train_labels))
    hashes = np.array(image_hashes(data.train_images))
    parted = sum(
        len(np.intersect1d(hashes[fold.train_rows], hashes[fold.validation_rows]))
        for fold in folds.folds
    )
    known = np.isin(np.array(image_hashes(data.test_images)), hashes).sum()
    rows, test_rows = result["out_of_fold_rows"], result["test_rows"]
    return {
        "shuffled labels predicted out of fold": above_chance(
            result["out_of_fold_accuracy"], chance=chance, independent=rows
        ),
        "shuffled labels predicted in the test": above_chance(
            result["test_accuracy"], chance=chance, independent=test_rows
        ),
        "copies on both sides of a fold": bool(parted),
        "copies of training images in the test": bool(known),
    }


def group_leaks(searched: Searched) -> dict[str, bool]:
    """Say of each thing that must not happen to grouped rows whether it did."""
    result, data, folds = searched.result["result"], searched.data(), searched.folds()
    groups = data.columns.groups
    assert groups is not None
    parted = sum(
        len(np.intersect1d(groups[fold.train_rows], groups[fold.validation_rows]))
        for fold in folds.folds
    )
    judged, chance = result["out_of_fold_rows"] / GROUP_ROWS, 1.0 / GROUP_CLASSES
    tested = result["test_rows"] / GROUP_ROWS
    return {
        "groups predicted out of fold": above_chance(
            result["out_of_fold_accuracy"], chance=chance, independent=round(judged)
        ),
        "groups predicted in the test": above_chance(
            result["test_accuracy"], chance=chance, independent=round(tested)
        ),
        "groups on both sides of a fold": bool(parted),
    }


def untold_groups_leak(searched: Searched) -> bool:
    """Whether the planted leak is one: untold, groups are parted, and the labels known."""
    result = searched.result["result"]
    return bool(result["out_of_fold_accuracy"] > 0.9)


def held(searched: Searched) -> dict[str, Any]:
    """Say whether the test score lay in the interval that was stated before, and its width.

    The width is relative to that of a binomial interval of as many test rows at the score that was
    expected. A model that is said to be better than the estimate must only not lie below the
    interval; if it lies above, that is told as well.
    """
    result = searched.result["result"]
    expected, share = result["expected"], result["test_accuracy"]
    low, high = expected["interval"]
    variance = max(expected["score"] * (1.0 - expected["score"]), 1e-9)
    binomial = 2.0 * 1.96 * math.sqrt(variance / result["test_rows"])
    return {
        "held": low <= share and (share <= high or expected["lower"]),
        "above": share > high,
        "lower_bound": expected["lower"],
        "width": (high - low) / binomial,
    }
