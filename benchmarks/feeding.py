"""How fast rows that stay in a file feed a training, against rows in memory."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from athanor.places import Places
from benchmarks.arms import BATCH, WARM_UP_STEPS, steps_on, take
from benchmarks.side_by_side import side_by_side
from search.machine import usable_cores
from workers.decode_worker import IMAGES
from workers.host_speed import host_speed
from workers.rows import Rows
from workers.selected import Images, Selected

WIDTHS = (8, 16, 32)  # of the plain network
STEPS, QUICK_STEPS = 60, 5  # of each arm
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Feed:
    """What one process measures: a network of some width on the images of a folder of the cache."""

    folder: Path
    width: int
    seed: int
    steps: int


def fed(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Train as workers do, one process a core, with rows in memory and in the file, in turns.

    Returns the median ratio of the speeds for each width, with a 95 % interval, and the same for
    rows in memory against rows in memory: what the machine's noise makes of nothing.
    """
    steps = QUICK_STEPS if quick else STEPS
    told: dict[str, Any] = {}
    for width in WIDTHS:
        tasks = [Feed(folder, width, seed, steps) for seed in range(usable_cores())]
        seconds = np.concatenate([each for _, each in side_by_side(measure, tasks)], axis=1)
        memory, file, again = seconds
        told[f"fed_{width}_images_a_second"] = round(len(tasks) * BATCH / float(np.median(file)))
        told |= _ratio(f"fed_{width}_of_memory", memory, file)
        told |= _ratio(f"memory_{width}_of_memory", memory, again)
    return told


def measure(task: Feed) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the seconds (3, steps) of steps on rows in memory, in the file, in memory again.

    Arms alternate by steps, as the machine's speed changes; a step on the file's rows reads those
    of its next one meanwhile.
    """
    mapped = np.load(task.folder / IMAGES, mmap_mode="r")
    rows = np.random.default_rng(task.seed).permutation(len(mapped))[: len(mapped) * 7 // 10]
    in_memory = mapped[rows]
    _, plan = host_speed(cache=Places.of(None, None).cache, progress=print)
    arms: list[Images] = [in_memory, Selected(np.asarray(mapped), rows), in_memory]
    loops = [steps_on(_rows(images), task.width, plan) for images in arms]
    for loop in loops:
        take(loop, count=WARM_UP_STEPS)
    seconds = np.empty((len(arms), task.steps))
    random = np.random.default_rng(task.seed)
    for step in range(task.steps):
        for arm in random.permutation(len(arms)):
            begin = time.perf_counter()
            next(loops[arm])
            seconds[arm, step] = time.perf_counter() - begin
    return seconds


def _rows(images: Images) -> Rows:
    """Return rows to learn from; their labels do not matter for how fast they are."""
    labels = np.arange(len(images)) % CLASSES
    few = images[:BATCH]
    return Rows(
        train_images=images,
        train_labels=labels,
        validation_images=few,
        validation_labels=labels[:BATCH],
        classes=CLASSES,
    )


def _ratio(name: str, ones: Any, others: Any) -> dict[str, Any]:
    """Return the median ratio of paired figures and its 95 % interval, by bootstrap."""
    ratios = ones / others
    draws = np.random.default_rng(0).choice(ratios, (1000, len(ratios)))
    interval = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return {
        name: round(float(np.median(ratios)), 3),
        f"{name}_interval": interval.round(3).tolist(),
    }
