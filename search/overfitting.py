"""How far a finalist is better on what it has learnt than on what it has not seen."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from search.folds import JUDGING_FOLD
from search.store.results import FoldTask

LEARNT = 0.99  # there is hardly anything left to learn
LITTLE, MUCH = 0.02, 0.06  # of the accuracy; augmented images are harder than plain ones


@dataclass(frozen=True, slots=True)
class Gap:
    """A finalist's accuracies, means over its folds.

    Attributes:
        training: on its training images as it saw them in the last epoch, altered at random.
        left_out: on the rows that its folds leave out.
    """

    trial: int
    training: float
    left_out: float

    @property
    def points(self) -> float:
        """By how much the former is higher, in points; below zero where augmentation is hard."""
        return 100.0 * (self.training - self.left_out)

    @property
    def word(self) -> str:
        """What that says, to somebody who wonders what to change."""
        gap = self.training - self.left_out
        if gap < LITTLE and self.training > LEARNT:
            return "it hardly overfits, and has learnt its images"
        if gap < LITTLE:
            return "it hardly overfits: a larger network or a longer training may give more"
        if gap < MUCH:
            return "it overfits somewhat"
        return "it overfits: more rows, augmentation, weight decay or a smaller network may help"


def gaps(tasks: Sequence[FoldTask]) -> list[Gap]:
    """Return the gap of each finalist that was trained on folds, in their order."""
    found: dict[int, list[tuple[float, float]]] = {}
    for task in tasks:
        if task.done and task.fold > JUDGING_FOLD and task.report is not None:
            training = task.report.get("train_accuracy")
            left_out = task.report.get("validation_accuracy")
            if training is not None and left_out is not None:
                found.setdefault(task.trial, []).append((float(training), float(left_out)))
    return [
        Gap(trial, *(statistics.fmean(side) for side in zip(*pairs, strict=True)))
        for trial, pairs in found.items()
    ]
