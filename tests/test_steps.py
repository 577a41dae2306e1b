"""A worker in this very process: what one fold meets does not end the job."""

import os
from pathlib import Path
from typing import Any

import pytest

from search.folds import JUDGING_FOLD, Folds
from search.job import Job, JobSpec
from search.store import FoldTask, StudyStore
from workers.finalist import run_fold
from workers.worker import Worker

SPEC = {
    "data": "digits",
    "trials": 1,
    "workers": 1,
    "folds": 3,
    "search_rows": 200,
    "search_epochs": 1,
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [8]},
}


def worked(folder: Path, **more: Any) -> tuple[Job, list[FoldTask]]:
    """Run a small job to its end; return it and its folds."""
    store = StudyStore(f"sqlite:///{folder}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, **more}))
    places = {"artifacts": folder / "artifacts", "cache": folder / "cache"}
    worker = Worker(store, **places, parent=os.getppid(), job_id=job.id)
    try:
        worker.run()
        return store.jobs.get(job.id), store.folds.all(job.id)
    finally:
        store.close()


def failing(fold: int, failure: Exception) -> Any:
    """Return a `run_fold` that fails on one fold."""

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if task.fold == fold:
            raise failure
        run_fold(bench, task, *more, **options)

    return run


@pytest.mark.parametrize(
    "failure",
    [MemoryError("out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1")],
)
def test_a_fold_without_memory_is_left_out(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.run_fold", failing(1, failure))
    job, folds = worked(tmp_path)
    assert job.state == "done", job.error
    assert [task.fold for task in folds] == [1, 2, 3]
    assert [task.done for task in folds] == [False, True, True]
    assert job.result is not None and job.result["folds"] == 2


def test_an_unknown_error_is_not_taken_for_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.run_fold", failing(1, RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        worked(tmp_path)


def test_only_the_winner_of_the_race_is_trained_for_the_ensemble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.plan.RACE_FROM", 1.0)
    job, folds = worked(tmp_path, budget="25s", trials=3)
    assert job.state == "done", job.error
    heats = [task for task in folds if task.fold == JUDGING_FOLD]
    assert len(heats) == 2 and all(task.done for task in heats)
    winner = max(heats, key=lambda task: task.accuracy or 0.0).trial
    for task in folds:
        assert task.done == (task.fold == JUDGING_FOLD or task.trial == winner)
        if not task.done:
            assert task.report == {"reason": "beaten in the race"}
    assert job.result is not None and job.result["networks"] == 3
    judged = Folds.load(next(tmp_path.glob("**/folds*.npz"))).folds[1:]
    assert job.result["out_of_fold_rows"] == sum(len(fold.validation_rows) for fold in judged)
    assert {member["trial"] for member in job.result["members"]} == {winner}


@pytest.mark.parametrize("fails", ["the first heat", "both heats"])
def test_a_race_that_cannot_be_run_does_not_end_the_job(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.plan.RACE_FROM", 1.0)
    heats: list[int] = []

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if task.fold == JUDGING_FOLD:
            heats.append(task.trial)
            if fails == "both heats" or len(heats) == 1:
                raise MemoryError("out of memory")
        run_fold(bench, task, *more, **options)

    monkeypatch.setattr("workers.steps.run_fold", run)
    job, folds = worked(tmp_path, budget="25s", trials=3)
    assert job.state == "done", job.error
    assert len(heats) == 2
    winner = heats[1 if fails == "the first heat" else 0]
    assert {task.trial for task in folds if task.done} == {winner}
    assert job.result is not None and job.result["networks"] == 3
