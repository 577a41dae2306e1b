"""What workers did, noted by themselves in one file: epochs begun, reports acknowledged."""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.store import Lease, StudyStore, Trials
from workers.epoch_report import EpochReport
from workers.training import Training

Entry = dict[str, Any]


class Diary:
    """Appends a line a note; each is one write, so processes do not mix theirs.

    Attributes:
        lease: what this process holds now.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.lease: Lease | None = None

    def note(self, kind: str, **values: Any) -> None:
        """Write a line."""
        os.write(self._file, (json.dumps({"kind": kind, **values}) + "\n").encode())

    def attend(self, store: StudyStore) -> None:
        """Note what this process does from now on, from outside: nothing of it is changed."""
        self._follow_leases(store)
        self._follow_epochs()
        self._follow_reports()

    def _follow_leases(self, store: StudyStore) -> None:
        claim, finish, release = store.leases.claim, store.leases.finish, store.leases.release

        def claimed(key: str, **options: Any) -> Lease | None:
            lease = claim(key, **options)
            if lease is not None:
                self.lease = lease
                self.note("claim", key=key, fence=lease.fence, owner=lease.owner)
            return lease

        def finished(lease: Lease) -> None:
            finish(lease)
            self.lease = None

        def released(lease: Lease, **options: Any) -> None:
            release(lease, **options)
            self.lease = None

        vars(store.leases).update(claim=claimed, finish=finished, release=released)

    def _follow_epochs(self) -> None:
        run = Training.run

        def noted(training: Training, *, on_epoch: Callable[..., None], **options: Any) -> None:
            def after(training: Training, report: EpochReport) -> None:
                on_epoch(training, report)
                begin()

            def begin() -> None:
                if not training.finished and self.lease is not None:
                    self.note(
                        "epoch",
                        key=self.lease.key,
                        fence=self.lease.fence,
                        owner=self.lease.owner,
                        epoch=training.epoch + 1,
                    )

            begin()
            run(training, on_epoch=after, **options)

        Training.run = noted  # type: ignore[assignment, method-assign]

    def _follow_reports(self) -> None:
        report = Trials.report

        def noted(trials: Trials, trial: Any, *, epoch: int, score: float) -> bool:
            stop = report(trials, trial, epoch=epoch, score=score)
            study = trials.study.study_name
            self.note("report", job=study, trial=trial.number, epoch=epoch, score=score)
            return stop

        Trials.report = noted  # type: ignore[assignment, method-assign]


def read(path: Path) -> list[Entry]:
    """Return all lines that are whole."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def epochs_repeated(entries: list[Entry]) -> int:
    """Return how many epochs the holder of a piece of work repeated of former ones', at most."""
    begun: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        if entry["kind"] == "epoch":
            begun[entry["key"]][entry["fence"]].add(entry["epoch"])
    most = 0
    for fences in begun.values():
        former: set[int] = set()
        for fence in sorted(fences):
            most = max(most, len(fences[fence] & former))
            former |= fences[fence]
    return most


def reports_lost(entries: list[Entry], store: StudyStore) -> int:
    """Return how many reports were acknowledged to a worker and are not in the store."""
    lost = 0
    curves: dict[tuple[str, int], dict[int, float]] = {}
    for job in store.jobs.list():
        for record in store.trials(job).records() if job.plan is not None else ():
            curves[job.id, record.number] = record.curve
    for entry in entries:
        if entry["kind"] == "report":
            curve = curves.get((entry["job"], entry["trial"]), {})
            lost += curve.get(entry["epoch"]) != entry["score"]
    return lost
