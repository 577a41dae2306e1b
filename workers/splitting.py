"""Which folds a job has on its data, and why: decided once, when the job is prepared."""

from dataclasses import dataclass, replace

import numpy as np

from search.folds import Folds, rarest_class, strata
from search.grouping import Rows, fewest_groups, image_hashes, with_duplicates
from search.job_spec import JobSpec
from search.metrics import METRICS, MetricName
from search.plan import Final
from search.splits import Columns, crossing, make_folds, most_folds_by_time, repeated
from spaces.errors import DataError
from workers.data import ImageData


@dataclass(frozen=True, slots=True)
class Split:
    """The folds of a job.

    Attributes:
        parts: into how many the rows are parted at a time.
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
    most = _most_parts(data, columns)
    count = spec.fold_count(rarest=most, refit=final == "refit")
    parts = count + 1
    if not by_time:
        parts = spec.split_count(rows=len(data.train_labels), rarest=most, count=count)
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
    notes = [how, _copies_note(folds, groups, copies)]
    shared = len(set(hashes).intersection(image_hashes(data.test_images)))
    if shared:
        notes.append(f"{shared:,} images of the test set are in the training rows as well")
    if by_time and spec.final is None:
        notes.append("the finalist is trained once more on all rows, the latest included")
    return Split(
        folds=folds,
        parts=known,
        count=count,
        final=final,
        notes=tuple(note for note in notes if note),
    )


def _most_parts(data: ImageData, columns: Columns) -> int:
    """Return into how many parts the rows can be parted, so that each has every class."""
    if columns.folds is not None:
        return len(np.unique(columns.folds[columns.folds >= 0]))
    if columns.times is not None:
        return max(2, most_folds_by_time(columns.times))
    if columns.groups is not None:
        return max(2, fewest_groups(strata(data.train_labels), columns.groups))
    return rarest_class(strata(data.train_labels))


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
    if metric != "roc_auc":
        return
    for fold in parts.folds.folds[: parts.count + 1]:
        if len(np.unique(data.train_labels[fold.validation_rows])) < 2:
            raise DataError(
                f"roc_auc needs rows of two classes in each fold, but fold {fold.number} has one"
            )
