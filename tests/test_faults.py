"""Trials that kill or stop their workers end as failed, with the reason, and the job lands."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.job_spec import JobSpec
from search.store import StudyStore
from tests.small_job import CACHE
from workers.pool import LocalPool, WorkerCommand

SPEC = {
    "data": "digits",
    "trials": 4,
    "workers": 1,
    "folds": 3,
    "finalists": 1,
    "search_rows": 200,
    "search_epochs": 3,
    "discard_after": 0,
    "validate_every": 1,
    "baselines": False,
    "strategy": "random",
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [8, 12]},
}


@dataclass(frozen=True, slots=True)
class FaultyCommand(WorkerCommand):
    """Starts workers that meet faults."""

    faults: str = ""

    def arguments(self, *, name: str) -> list[str]:
        ours = WorkerCommand.arguments(self, name=name)
        options = ours[ours.index("workers.worker") + 1 :]
        return [
            sys.executable,
            str(Path(__file__).with_name("faulty_worker.py")),
            self.faults,
            *options,
        ]


@pytest.mark.slow
def test_a_trial_that_segfaults_and_one_that_hangs_are_quarantined_and_the_job_lands(
    tmp_path: Path,
) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse(SPEC))
    command = FaultyCommand(
        store_url=store.url,
        artifacts=tmp_path / "artifacts",
        cache=CACHE,
        threads=1,
        workers=1,
        job_id=job.id,
        faults="segfault=1,hang=2",
    )

    with LocalPool(command, store=store, size=1) as pool:
        while not pool.finished:
            pool.watch()
            time.sleep(0.1)
    landed, records = store.jobs.get(job.id), store.trials(job).records()
    store.close()
    assert landed.state == "done", landed.error
    assert [record.state for record in records] == ["complete", "failed", "failed", "complete"]
    assert "3 attempts" in records[1].note and "SIGSEGV" in records[1].note
    assert "it hung" in records[2].note
    assert [len(record.curve) for record in records[1:3]] == [1, 1]
