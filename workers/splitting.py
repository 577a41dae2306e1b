"""Which folds a job has on its data, and why: decided once, when the job is prepared."""

from dataclasses import dataclass, replace

from search.folds import Folds, rarest_class
from search.job import JobSpec
from search.plan import Final
from search.splits import make_folds, with_duplicates
from spaces.errors import DataError
from workers.data import ImageData


@dataclass(frozen=True, slots=True)
class Split:
    """The folds of a job.

    Attributes:
        count: on how many of them, besides the judging one, a finalist is trained.
        final: what is made of these.
        notes: what was decided because of the data, for people.
    """

    folds: Folds
    count: int
    final: Final
    notes: tuple[str, ...]


def split(spec: JobSpec, data: ImageData) -> Split:
    """Part the training rows as the data demand; a machine with other cores may do so otherwise.

    Raises:
        DataError: they cannot be parted so.
    """
    labels, columns = data.train_labels, data.columns
    groups, copies = with_duplicates(columns.groups, data.train_images)
    columns = replace(columns, groups=groups)
    by_time = columns.times is not None and columns.folds is None
    final = spec.final or ("refit" if by_time else "bag")
    rarest = rarest_class(labels)
    count = spec.fold_count(rarest=rarest, refit=final == "refit")
    parts = spec.split_count(rows=len(labels), rarest=rarest, count=count)
    if by_time:
        parts = count + 1
    folds, how = make_folds(
        labels, columns, k=parts, seed=spec.seed, data_fingerprint=data.train_fingerprint
    )
    if columns.folds is not None:
        if spec.folds is not None and spec.folds > len(folds.folds) - 1:
            raise DataError(
                f"the data must state {spec.folds} folds besides the judging one, "
                f"but state {len(folds.folds)} in all"
            )
        count = min(count, len(folds.folds) - 1)
    notes = [how]
    if copies:
        notes.append(f"{copies:,} training images are copies of others: copies are never parted")
    if by_time and spec.final is None:
        notes.append("the finalist is trained once more on all rows, the latest included")
    return Split(folds=folds, count=count, final=final, notes=tuple(note for note in notes if note))
