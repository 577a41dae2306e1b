"""What a worker has at hand for one job: the store, the data, the folds, the clock."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.job import Job
from search.metrics import METRICS, Metric
from search.plan import Plan
from search.seeds import derived_seed
from search.store import Lease, StudyStore, Trials
from search.store.patience import Patience, may_be_written_later
from spaces.errors import JobFailed, WorkerUnfit
from workers.data import ImageData
from workers.device import DevicePlan
from workers.files import JobFiles
from workers.heartbeat import Heartbeat
from workers.rows import Rows
from workers.search_rows import search_rows
from workers.selected import chosen

CHECKED_ROWS = 1000  # of its own that a network trained on all rows predicts, to be verified by


@dataclass(frozen=True)
class Workbench:
    """Everything that the work on one job needs; made once a job and worker.

    Raises:
        DataError: the data or the folds here are not those that the job was planned with.
        WorkerUnfit: this machine lacks the device that the job was planned for.
    """

    store: StudyStore
    job: Job
    data: ImageData
    folds: Folds
    files: JobFiles
    heartbeat: Heartbeat

    def __post_init__(self) -> None:
        self.folds.check(self.data.train_fingerprint)
        if self.folds.hash != self.plan.folds_hash:
            raise JobFailed(
                f"the folds must have hash {self.plan.folds_hash}, but have {self.folds.hash}"
            )
        if not self.device.available:
            raise WorkerUnfit(
                f"{self.job.id} was planned for a GPU, but this worker sees no {self.device.device}"
            )

    @property
    def plan(self) -> Plan:
        """The job's plan."""
        assert self.job.plan is not None, "a workbench is made for planned jobs"
        return self.job.plan

    @property
    def metric(self) -> Metric:
        """By which everything is chosen."""
        return METRICS[self.plan.metric]

    @cached_property
    def device(self) -> DevicePlan:
        """How to compute."""
        return DevicePlan.from_json(self.plan.device)

    @cached_property
    def exact(self) -> DevicePlan:
        """How to compute predictions that count: on the same device, in float32."""
        return self.device.model_copy(update={"dtype": "float32"})

    @cached_property
    def trials(self) -> Trials:
        """The job's study."""
        return self.store.trials(self.job)

    @cached_property
    def search_rows(self) -> Rows:
        """The sample of the judging fold on which every trial is trained and judged."""
        train, validation = search_rows(self.data, self.folds, self.plan, seed=self.job.spec.seed)
        return self._rows(train, validation)

    def lease(
        self, key: str, *, attempts: int | None = None
    ) -> AbstractContextManager[Lease | None]:
        """Hold a lease of the job over a block, or None if somebody else does."""
        return self.heartbeat.lease(key, attempts=attempts)

    def write(self, files: Callable[[], None]) -> None:
        """Write files; while their disk is full or away, wait for it: no epoch is lost.

        Raises:
            OSError: something else is wrong, or the work must stop before there is room.
        """
        tell = self.store.patience.tell
        patience = Patience(
            self.heartbeat.wait_for_room, tell=tell, what="the disk", away=may_be_written_later
        )
        try:
            patience.call(files)
        except OSError:
            self.heartbeat.check()  # it was asked to stop meanwhile, which is no attempt
            raise

    def fold_rows(self, fold: int) -> Rows:
        """All rows of one fold; of no fold, all rows, of which some are predicted as a check."""
        if fold == ALL_ROWS:
            return self._rows(np.arange(len(self.data.train_labels)), self.predicted_rows(fold))
        return self._rows(self.folds.folds[fold].train_rows, self.predicted_rows(fold))

    def predicted_rows(self, fold: int) -> NDArray[np.int64]:
        """Rows that a network of a fold predicts: those left out, or a few where none are."""
        rows = self.folds.folds[max(fold, JUDGING_FOLD)].validation_rows
        return rows[:CHECKED_ROWS] if fold == ALL_ROWS else rows

    def seed(self, *parts: object) -> int:
        """Return a seed that depends on the job's seed and the parts alone."""
        return derived_seed(self.job.spec.seed, *parts)

    def _rows(self, train: NDArray[np.int64], validation: NDArray[np.int64]) -> Rows:
        images, labels = self.data.train_images, self.data.train_labels
        groups = self.folds.groups
        return Rows(
            train_images=chosen(images, train),
            train_labels=labels[train],
            validation_images=chosen(images, validation),
            validation_labels=labels[validation],
            classes=self.data.classes,
            validation_groups=None if groups is None else groups[validation],
        )
