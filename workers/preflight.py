"""What is to be known of images before they are trained on, and what is done about it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.duplicates import MOST_IMAGES, near_duplicates
from search.grouping import image_hashes
from workers.decoding import WORDS
from workers.image_data import ImageData

EXAMPLES = 12  # that are named and shown of each kind
LOOKED_AT = 4096  # images at a time
FEWEST_ROWS = 5  # of a class, for a judging fold and four others

Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Finding:
    """One kind of fault, or of oddity.

    Attributes:
        kind: its name, for programs.
        said: what was found, for people.
        done: what is done about it.
        examples: rows that show it, a tuple an example: a single row, or a pair.
        refused: whether `--strict` refuses data that have it.
    """

    kind: str
    count: int
    said: str
    done: str
    examples: tuple[tuple[int, ...], ...] = ()
    names: tuple[str, ...] = ()
    refused: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return what a program wants to know."""
        return {
            "kind": self.kind,
            "count": self.count,
            "said": self.said,
            "done": self.done,
            "examples": list(self.names),
            "strict_refuses": self.refused,
        }


class Preflight:
    """Looks at data; rows are numbered through, the training rows first, then those of the test.

    Args:
        near: whether arrays are compared with each other, too, for nearly equal images; image files
            have been when they were decoded.
        progress: told the share of the comparison that is done.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        near: bool = False,
        progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.data, self._near, self._progress = data, near, progress
        self.train = len(data.train_labels)
        self.labels = np.concatenate([data.train_labels, data.test_labels])

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that was found, the gravest first; kinds that were not found are left out."""
        found = [
            *self._unreadable(),
            *self._pairs("exact", "equal", self._exact()),
            *self._pairs("near", "nearly equal", self._nearly_equal()),
            *self._groups(),
            *self._constant(),
            *self._small_classes(),
            *self._channels(),
            *self._notes(),
        ]
        return tuple(finding for finding in found if finding.count)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels of a row."""
        data, place = self.data, row - self.train
        pixels: NDArray[np.uint8] = data.train_images[row] if place < 0 else data.test_images[place]
        return pixels

    def name(self, row: int) -> str:
        """Return what a row is called."""
        if self._names is not None:
            return self._names[row]
        return f"train/{row}" if row < self.train else f"test/{row - self.train}"

    def label(self, row: int) -> str:
        """Return the name of a row's class, or its number."""
        label = self.labels[row]
        return self.data.class_names[label] if self.data.class_names else f"{label:g}"

    @cached_property
    def _names(self) -> list[str] | None:
        return None if self.data.decoded is None else self.data.decoded.rows

    @property
    def _report(self) -> dict[str, Any]:
        return {} if self.data.decoded is None else self.data.decoded.report

    def _finding(
        self,
        kind: str,
        said: str,
        done: str,
        rows: Sequence[Sequence[int]],
        *,
        refused: bool = True,
    ) -> Finding:
        examples = tuple(tuple(map(int, each)) for each in rows[:EXAMPLES])
        names = tuple(" = ".join(map(self.name, each)) for each in examples)
        return Finding(kind, len(rows), said, done, examples, names, refused)

    def _unreadable(self) -> list[Finding]:
        reasons = self._report.get("unreadable", {})
        examples = self._report.get("unreadable_examples", [])
        found = []
        for reason, count in reasons.items():
            names = [f"{name}: {details}" for name, why, details in examples if why == reason]
            said = f"{count:,} of {self._report['listed']:,} images are {WORDS[reason]}"
            kind = f"unreadable: {reason}"
            found.append(Finding(kind, count, said, "left out", (), tuple(names[:EXAMPLES])))
        return found

    def _exact(self) -> Pairs:
        """Return pairs of equal images: each copy with the first one."""
        hashes = image_hashes(self.data.train_images) + image_hashes(self.data.test_images)
        first: dict[bytes, int] = {}
        pairs = [(first.setdefault(digest, row), row) for row, digest in enumerate(hashes)]
        copies = [pair for pair in pairs if pair[0] < pair[1]]
        return np.array(copies, dtype=np.int64).reshape(-1, 2)

    def _nearly_equal(self) -> Pairs:
        """Return pairs of images that are nearly but not quite equal."""
        if self.data.decoded is not None:
            pairs = np.array(self._report["near"], dtype=np.int64).reshape(-1, 2)
        elif self._near:
            parts = (self.data.train_images, self.data.test_images)
            pairs = near_duplicates(*parts, progress=self._progress).pairs
        else:
            return np.empty((0, 2), dtype=np.int64)
        differ = [not np.array_equal(self.image(one), self.image(other)) for one, other in pairs]
        nearly: Pairs = pairs[np.array(differ, dtype=bool)]
        return nearly

    def _pairs(self, kind: str, word: str, pairs: Pairs) -> list[Finding]:
        """Tell of pairs within the training rows, across classes, and on both sides of the test."""
        learnt = (pairs < self.train).sum(axis=1)
        labels = self.labels[pairs]
        within, across = pairs[learnt == 2], pairs[learnt == 1]
        differ = pairs[labels[:, 0] != labels[:, 1]]
        kept = "kept on one side of each fold"
        if kind == "near" and self.data.decoded is None:
            kept = "not kept together: state groups, so that they are"
        limit = ""
        if kind == "near" and len(self.labels) > MOST_IMAGES:
            limit = f", among {MOST_IMAGES:,} that were compared"
        what = "labels" if self.data.class_names else "targets"
        return [
            self._finding(
                f"{kind} copies in the test",
                f"{len(across):,} pairs of {word} images are on both sides of the test{limit}",
                "left as they are: the test's score will be too good",
                across.tolist(),
            ),
            self._finding(
                f"{kind} copies of different {what}",
                f"{len(differ):,} pairs of {word} images have different {what}{limit}",
                "left as they are: one of each two is wrong",
                differ.tolist(),
            ),
            self._finding(
                f"{kind} copies",
                f"{len(within):,} pairs of {word} training images{limit}",
                kept,
                within.tolist(),
                refused=False,
            ),
        ]

    def _groups(self) -> list[Finding]:
        """Tell of groups that are learnt from and tested or judged by."""
        shared = int(self._report.get("groups_across", 0))
        said = f"{shared:,} groups are on both sides of the test"
        done = "left as they are: the test's score will be too good"
        found = [Finding("groups in the test", shared, said, done)]
        columns = self.data.columns
        if columns.groups is not None and columns.folds is not None:
            folds: dict[int, set[int]] = defaultdict(set)
            for group, fold in zip(columns.groups.tolist(), columns.folds.tolist(), strict=True):
                folds[group].add(fold)
            crossing = sum(len(each) > 1 for each in folds.values())
            said = f"{crossing:,} groups or equal images are in several stated folds"
            done = "left as they are: the folds' scores will be too good"
            found.append(Finding("groups across folds", crossing, said, done))
        return found

    def _constant(self) -> list[Finding]:
        rows: list[int] = []
        for begin, images in ((0, self.data.train_images), (self.train, self.data.test_images)):
            for first in range(0, len(images), LOOKED_AT):
                part = images[first : first + LOOKED_AT].reshape(
                    -1, int(np.prod(images.shape[1:3])), images.shape[3]
                )
                flat = np.flatnonzero((part == part[:, :1]).all(axis=(1, 2)))
                rows += (begin + first + flat).tolist()
        said = f"{len(rows):,} images are of one colour"
        return [self._finding("constant", said, "left as they are", [[row] for row in rows])]

    def _small_classes(self) -> list[Finding]:
        if not self.data.class_names:
            return []
        counts = np.bincount(self.data.train_labels, minlength=len(self.data.class_names))
        few = np.flatnonzero(counts < FEWEST_ROWS)
        names = ", ".join(f"{self.data.class_names[each]} ({counts[each]})" for each in few[:5])
        said = f"{len(few):,} classes have fewer training images than {FEWEST_ROWS} folds: {names}"
        done = "rarer classes are missing from some folds"
        return [Finding("small classes", len(few), said, done)]

    def _channels(self) -> list[Finding]:
        images = self.data.train_images
        if images.shape[3] != 3:
            return []
        chosen = np.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).astype(int)
        part = images[chosen]
        grey = bool((part == part[..., :1]).all())
        said = "images have three channels, but all of them are grey"
        return [
            Finding("grey", int(grey), said, "left as they are; `channels: 1` saves time", (), ())
        ]

    def _notes(self) -> list[Finding]:
        notes = self._report.get("notes", [])
        return [Finding("note", 1, note, "told", (), (), refused=False) for note in notes]
