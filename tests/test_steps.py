"""A worker in this very process: what one fold meets does not end the job."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.folds import JUDGING_FOLD, Folds
from search.job import JobSpec
from search.store import FoldTask, Lease, StudyStore
from spaces.errors import WorkerUnfit
from tests.small_job import CACHE, SPEC, worked
from workers.finalist import run_fold
from workers.heartbeat import Stopped
from workers.steps import MAX_ATTEMPTS
from workers.training import EpochReport, Training
from workers.worker import Worker


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


def test_a_worker_that_does_not_see_the_artifacts_leaves_the_job_to_others(tmp_path: Path) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse(SPEC))

    def worker(artifacts: str, *, job_id: str | None = None) -> Worker:
        folder = tmp_path / artifacts
        return Worker(store, artifacts=folder, cache=CACHE, parent=os.getppid(), job_id=job_id)

    first = worker("here", job_id=job.id)
    first._work_on(job)  # prepares it
    assert store.jobs.get(job.id).state == "searching"
    with pytest.raises(WorkerUnfit, match=f"data and the artifacts of {job.id}, but: .*there"):
        worker("there", job_id=job.id).run()
    elsewhere = worker("there")
    elsewhere._work_on(store.jobs.get(job.id))
    assert elsewhere._next_job() is None
    assert store.jobs.get(job.id).state == "searching"
    first.run()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_the_last_step_is_tried_more_often_than_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever kills workers at random must not fail a whole job that is all but done."""
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse(SPEC))

    def work() -> None:
        folder = tmp_path / "artifacts"
        Worker(store, artifacts=folder, cache=CACHE, parent=os.getppid(), job_id=job.id).run()

    def dying(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("workers.steps.assemble", dying)
        for _ in range(MAX_ATTEMPTS + 2):
            with pytest.raises(RuntimeError, match="killed"):
                work()
    work()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_a_trial_begun_at_the_last_moment_is_waited_for_and_is_no_failed_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker has taken the last trial's slot, and asks while this one begins to land."""
    url = f"sqlite:///{tmp_path}/athanor.db"
    store = StudyStore(url, create=True)
    job = store.jobs.create(JobSpec.parse({**SPEC, "trials": 2}))
    landings: list[Lease] = []
    claim = store.leases.claim

    def claimed(key: str, *, owner: str, seconds: float | None = None) -> Lease | None:
        lease = claim(key, owner=owner, seconds=seconds)
        if key.endswith("/landing") and lease is not None:
            landings.append(lease)
            if len(landings) == 1:
                other = StudyStore(url)
                other.trials(other.jobs.get(job.id)).ask()
                other.close()
        return lease

    folder = tmp_path / "artifacts"
    worker = Worker(store, artifacts=folder, cache=CACHE, parent=os.getppid(), job_id=job.id)
    worker._work_on(job)  # prepares it
    assert store.jobs.take_trial_slot(job.id, limit=2)
    monkeypatch.setattr(store.leases, "claim", claimed)
    worker.run()
    assert store.jobs.get(job.id).state == "done"
    assert [record.finished for record in store.trials(job).records()] == [True, True]
    assert [(lease.fence, lease.attempts) for lease in landings] == [(1, 1), (3, 1)]
    store.close()


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let two trials of short trainings race; return what the job needs."""
    monkeypatch.setattr("search.plan.RACE_FROM", 1.0)
    monkeypatch.setattr("workers.finalist.MAX_EPOCHS", 3)
    return {"budget": "60s", "trials": 3}


def test_only_the_winner_of_the_race_is_trained_for_the_ensemble(
    race: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted: dict[int, list[float]] = {}

    def run(bench: Any, task: FoldTask, *more: Any, seconds: float, **options: Any) -> None:
        granted.setdefault(task.fold, []).append(seconds)
        run_fold(bench, task, *more, seconds=seconds, **options)

    monkeypatch.setattr("workers.steps.run_fold", run)
    job, folds = worked(tmp_path, **race)
    assert job.state == "done", job.error
    heats = [task for task in folds if task.fold == JUDGING_FOLD]
    assert len(heats) == 2 and all(task.done for task in heats)
    one, other = granted[JUDGING_FOLD]
    assert one == pytest.approx(other, rel=0.05) and 0.0 < one < 0.06 * 60.0
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
    race: dict[str, Any], fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heats: list[int] = []

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if task.fold == JUDGING_FOLD:
            heats.append(task.trial)
            if fails == "both heats" or len(heats) == 1:
                raise MemoryError("out of memory")
        run_fold(bench, task, *more, **options)

    monkeypatch.setattr("workers.steps.run_fold", run)
    job, folds = worked(tmp_path, **race)
    assert job.state == "done", job.error
    assert len(heats) == 2
    winner = heats[1 if fails == "the first heat" else 0]
    assert {task.trial for task in folds if task.done} == {winner}
    assert job.result is not None and job.result["networks"] == 3


def test_a_heat_that_goes_on_has_only_the_rest_of_its_time(
    race: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = 1.0  # seconds that each epoch is said to have taken
    starts: list[tuple[int, float]] = []

    class Interrupted(Training):
        def run(self, *, on_epoch: Any, interrupt: Any, seconds_left: Any = None) -> None:
            starts.append((self.epoch, seconds_left()))

            def stop(training: Training, report: EpochReport) -> None:
                training.curve[-1] = replace(report, train_seconds=spent)
                on_epoch(training, report)
                if len(starts) == 1 and training.epoch == 2:
                    raise Stopped("interrupted")

            super().run(on_epoch=stop, interrupt=interrupt, seconds_left=seconds_left)

    monkeypatch.setattr("workers.finalist.Training", Interrupted)
    monkeypatch.setattr("search.plan.RACE_SHARE", 0.5)
    job, _ = worked(tmp_path, **race)
    assert job.state == "done", job.error
    (begun, whole), (resumed, rest) = starts[:2]
    assert (begun, resumed) == (0, 2)
    assert rest <= whole - 2 * spent + 0.01
