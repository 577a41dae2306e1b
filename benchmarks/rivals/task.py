"""What every contestant is given, and what it must leave: the same for all, with numpy alone.

A contestant gets labelled training rows, test images without their labels, a deadline and a
folder. It leaves the class of each test image in `predictions.npy`, and in `result.json`
whatever it wants to say about how it got there. Whoever started it compares the classes.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPOCHS = 10  # of a trial, at most
HELD_OUT = 6  # one row in so many judges the trials: 10,000 of 60,000
CLASSES = 10
WIDTHS = (8, 12, 16, 24, 32)  # of the first stage; wider networks are too much for two cores
PREDICTIONS, RESULT = "predictions.npy", "result.json"


@dataclass(frozen=True)
class Task:
    """Rows, a deadline, and where to leave the answer.

    Attributes:
        train_images, held_out_images, test_images: uint8 (rows, height, width, 1).
        train_labels, held_out_labels: int64 (rows,).
        deadline: in seconds since the epoch, at which the process must have ended.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    held_out_images: NDArray[np.uint8]
    held_out_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    deadline: float
    seed: int
    out: Path

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Task":
        """Read the rows that the command line names; the last ones are held out."""
        with np.load(options.data, allow_pickle=False) as rows:
            images, labels, test = rows["train_images"], rows["train_labels"], rows["test_images"]
        count = len(labels) - len(labels) // HELD_OUT
        return cls(
            train_images=images[:count],
            train_labels=labels[:count],
            held_out_images=images[count:],
            held_out_labels=labels[count:],
            test_images=test,
            deadline=options.deadline,
            seed=options.seed,
            out=options.out,
        )

    def answer(self, classes: NDArray[np.integer[Any]], **facts: Any) -> None:
        """Write the class of each test image, and facts for the record."""
        np.save(self.out / PREDICTIONS, classes.astype(np.uint8))
        (self.out / RESULT).write_text(json.dumps(facts) + "\n")


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options that every contestant has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data", type=Path, required=True, help=".npz of the rows")
    options.add_argument("--deadline", type=float, required=True, help="seconds since the epoch")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, required=True, help="folder for the answer")
    return options
