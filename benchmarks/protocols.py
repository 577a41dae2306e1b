"""Data that ask for a protocol of their own, and whether a search finds it by itself."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.leaks import Searched, plant_groups, run_searches
from search.store import StudyStore

BUDGET = 60.0  # seconds: of a third of that hardly anything is left for training
FEW = 12  # images of each class
RARE = 50  # times as many images has the other class
Plant = Callable[[Path], None]


def plant_times(path: Path) -> None:
    """Write the digits in the order of a time in which they fade."""
    images, labels = _digits()
    times = np.arange(len(images), dtype=np.float64)
    faded = images * np.linspace(1.0, 0.6, len(images))[:, None, None]
    np.savez(path, images=faded.astype(np.uint8), labels=labels, times=times)


def plant_unbalanced(path: Path) -> None:
    """Write all but one digit as one class, and few of the other."""
    images, labels = _digits()
    rare = np.flatnonzero(labels == 8)[: round((labels != 8).sum() / RARE)]
    rows = np.concatenate([np.flatnonzero(labels != 8), rare])
    np.savez(path, images=images[rows], labels=(labels[rows] == 8).astype(np.int64))


def plant_few(path: Path) -> None:
    """Write a dozen images of each digit."""
    images, labels = _digits()
    rows = np.concatenate([np.flatnonzero(labels == digit)[:FEW] for digit in range(10)])
    np.savez(path, images=images[rows], labels=labels[rows])


DATA: dict[str, tuple[Plant, str]] = {  # what a note, or the test split, must say
    "times": (plant_times, "rows have times"),
    "groups": (lambda path: plant_groups(path, told=True), "rows of one group are never parted"),
    "unbalanced": (plant_unbalanced, "balanced accuracy"),
    "few": (plant_few, "30 % of the rows"),
}


def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    order = np.random.default_rng(0).permutation(len(load_digits().target))
    images = (load_digits().images[order] * 15.9).astype(np.uint8)
    return images, load_digits().target[order]


def protocols(folder: Path) -> Iterator[dict[str, Any]]:
    """Search on each kind of data; yield what was decided, and whether it is right."""
    for name, (plant, _) in DATA.items():
        (folder / name).mkdir()
        plant(folder / name / "data.npz")
    found = run_searches([folder / name for name in DATA], budget=BUDGET)
    for name, searched in zip(DATA, found, strict=True):
        yield _row(name, searched, expected=DATA[name][1])


def _row(name: str, searched: Searched, *, expected: str) -> dict[str, Any]:
    result = searched.result["result"]
    runs = searched.folder / "athanor-runs"
    store = StudyStore(f"sqlite:///{runs}/athanor.db")
    plan = store.jobs.get(searched.result["job"]).plan
    store.close()
    assert plan is not None
    model = runs / "artifacts" / searched.result["job"] / result["model"] / "model.json"
    protocol = json.loads(model.read_text())["protocol"]
    said = [*plan.notes, protocol["test_split"]]
    return {
        "data": name,
        "right": any(expected in note for note in said),
        "folds": plan.folds,
        "splits": protocol["splits"],
        "final": result["final"],
        "metric": result["metric"],
        "score": result.get("test_score", result["test_accuracy"]),
        "over_s": round(searched.over, 2),
        "said": said,
    }
