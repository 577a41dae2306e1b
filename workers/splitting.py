"""Which folds a job has on its data, and why: decided once, when the job is prepared."""

from dataclasses import dataclass, replace

import numpy as np

from search.folds import Folds, class_sizes, strata
from search.grouping import Rows, groups_by_class, image_hashes, with_duplicates
from search.job_spec import JobSpec
from search.metrics import METRICS, MetricName
from search.plan import FOLDS, Final, judging_parts_for
from search.splits import (
    Columns,
    crossing,
    make_folds,
    most_folds_by_time,
    repeated,
    with_larger_judging_fold,
)
from spaces.errors import DataError
from workers.data import ImageData

ENOUGH = FOLDS.start + 1  # rows, or groups, of a class that may not be missing from a fold
GROUPS_A_PART = 2  # of each class at least, before a part is made smaller than it must be
MOST_NAMED = 5  # of the classes that may


@dataclass(frozen=True, slots=True)
class Split:
    """The folds of a job.

    Attributes:
        parts: into how many the rows are parted at a time; the judging fold may have several.
        count: on how many folds, besides the judging one, a finalist is trained.
        final: what is made of these.
        notes: what was decided because of the data, for people.
    """

    folds: Folds
    parts: int
    count: int
    final: Final
    notes: tuple[str, ...]


def split(spec: JobSpec, data: ImageData) -> Split:
    """Part the training rows as the data demand; a machine with other cores may do so otherwise.

    Raises:
        DataError: they cannot be parted so.
    """
    hashes = image_hashes(data.train_images)
    groups, copies = with_duplicates(data.columns.groups, hashes)
    columns = replace(data.columns, groups=groups)
    by_time = columns.times is not None and columns.folds is None
    final = spec.final or ("refit" if by_time else "bag")
    sizes = _class_sizes(data, columns)
    most = _most_parts(columns, sizes)
    count = spec.fold_count(rarest=most, refit=final == "refit")
    parts = count + 1
    if not by_time:
        finest = most if columns.groups is None else most // GROUPS_A_PART
        parts = spec.split_count(rows=len(data.train_labels), rarest=finest, count=count)
    folds, how = make_folds(
        strata(data.train_labels),
        columns,
        k=parts,
        seed=spec.seed,
        data_fingerprint=data.train_fingerprint,
    )
    if len(folds.folds) < count + 1:
        raise DataError(
            f"the data must state {count} folds besides the judging one, "
            f"but state {len(folds.folds)} in all"
        )
    if columns.folds is not None:
        parts = len(folds.folds)
    elif not by_time:
        judging = judging_parts_for(splits=parts, folds=count)
        folds = with_larger_judging_fold(folds, parts=judging)
    known = len(folds.folds)
    if spec.repeats > 1:
        if by_time or columns.folds is not None:
            raise DataError(
                "repeats need folds by class or by group, but these are by time or stated"
            )
        if known < 3:
            raise DataError(f"repeats need two folds besides the judging one, but got {known - 1}")
        folds = repeated(
            folds, strata(data.train_labels), groups, count=count, repeats=spec.repeats
        )
        count *= spec.repeats
    notes = [how, _copies_note(folds, groups, copies), _rare_note(data, sizes, parts=known)]
    shared = len(set(hashes).intersection(image_hashes(data.test_images)))
    if shared:
        notes.append(f"{shared:,} images of the test set are in the training rows as well")
    alone = columns.folds is None and groups is None and spec.folds is None
    if known == 2 and alone and not by_time and final != "refit":
        learnt = len(folds.folds[1].train_rows) / len(data.train_labels)
        notes.append(
            f"there are so few images that each network learns from {learnt:.0%} of them; "
            "--final refit learns from all"
        )
    if by_time and spec.final is None:
        notes.append("the finalist is trained once more on all rows, the latest included")
    return Split(
        folds=replace(folds, groups=groups, parts=parts, repeats=spec.repeats),
        parts=parts,
        count=count,
        final=final,
        notes=tuple(note for note in notes if note),
    )


def _class_sizes(data: ImageData, columns: Columns) -> Rows | None:
    """Return how many rows, or groups of them, each class has; None where others part the rows."""
    if columns.folds is not None or columns.times is not None:
        return None
    labels = strata(data.train_labels)
    return (
        class_sizes(labels) if columns.groups is None else groups_by_class(labels, columns.groups)
    )


def _most_parts(columns: Columns, sizes: Rows | None) -> int:
    """Return into how many parts the rows can be parted, so that each has all but rare classes."""
    if columns.folds is not None:
        return len(np.unique(columns.folds[columns.folds >= 0]))
    if columns.times is not None:
        return max(2, most_folds_by_time(columns.times))
    assert sizes is not None
    enough = sizes[sizes >= ENOUGH]
    return max(2, int(enough.min() if len(enough) else sizes.max()))


def _rare_note(data: ImageData, sizes: Rows | None, *, parts: int) -> str:
    """Say which classes cannot be in all parts."""
    if sizes is None or not data.class_names or sizes.min() >= parts:
        return ""
    rare = np.unique(data.train_labels)[sizes < parts]
    names = ", ".join(data.class_names[label] for label in rare[:MOST_NAMED])
    more = f" and {len(rare) - MOST_NAMED} more" if len(rare) > MOST_NAMED else ""
    return f"too rare to be in each of {parts} parts, hence not judged by all folds: {names}{more}"


def _copies_note(folds: Folds, groups: Rows | None, copies: int) -> str:
    """Say what became of equal images, and of groups where the folds were stated."""
    if groups is None:
        return ""
    crossed = crossing(groups, folds)
    if crossed:
        return f"{crossed:,} groups or equal images are on both sides of a stated fold"
    return f"{copies:,} training images are copies of others, and stay with them" if copies else ""


def check_metric(metric: MetricName, data: ImageData, parts: Split) -> None:
    """Raise `DataError` if the rows of some fold cannot be judged by the metric."""
    if METRICS[metric].task != data.task:
        fitting = ", ".join(each.name for each in METRICS.values() if each.task == data.task)
        raise DataError(f"a metric for {data.name} must be one of {fitting}, but got {metric}")
    needed = {"roc_auc": "rows of two classes", "r2": "two different numbers"}.get(metric)
    for fold in parts.folds.folds[: parts.count + 1] if needed else ():
        if len(np.unique(data.train_labels[fold.validation_rows])) < 2:
            raise DataError(f"{metric} needs {needed} in each fold, but fold {fold.number} has one")
