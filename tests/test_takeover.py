"""What one worker leaves behind, another one goes on with, or does again; nobody is misled."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from search.job_spec import JobSpec
from search.store import FoldTask, StudyStore
from spaces.errors import JobFailed, WorkerUnfit
from tests.small_job import CACHE, SPEC, bench_of, prepared, resume, take_steps, worked
from workers.checkpoints import load_checkpoint, save_checkpoint
from workers.device import DevicePlan
from workers.files import write_array
from workers.finalist import run_fold
from workers.gentler import CLIP_NORM
from workers.heartbeat import Heartbeat
from workers.host_speed import host_speed
from workers.preparation import prepare
from workers.steps import MAX_ATTEMPTS
from workers.training import Diverged, Training
from workers.verification import verify_and_predict
from workers.worker import Worker


class Killed(Exception):
    """Stands for the end of the process."""


def only_job(folder: Path) -> str:
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    (job,) = store.jobs.list()
    store.close()
    return job.id


def test_the_record_of_a_trial_that_diverged_once_is_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, kill = Training.run, [True]

    def run(training: Training, **options: Any) -> None:
        if training.candidate.recipe.clip_norm is None and training.epoch == 0:
            raise Diverged("the loss is nan")
        train(training, **options)

    def save(folder: Path, state: Any, **options: Any) -> None:
        save_checkpoint(folder, state, **options)
        if kill:
            kill.clear()
            raise Killed

    monkeypatch.setattr(Training, "run", run)
    monkeypatch.setattr("workers.trial.save_checkpoint", save)
    with pytest.raises(Killed):
        worked(tmp_path, search_epochs=2)
    resume(tmp_path, only_job(tmp_path))
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    (job,) = store.jobs.list()
    record = store.trials(job).records()[0]
    store.close()
    assert record.state == "complete" and record.candidate is not None
    assert record.candidate.recipe.clip_norm == CLIP_NORM
    folder = next(tmp_path.glob("artifacts/*/trials/0"))
    loaded = load_checkpoint(folder)
    assert loaded is not None and record.candidate == loaded[0]


def test_a_machine_with_other_cores_may_prepare_what_another_has_begun_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It splits the data otherwise; what the other one has split is not looked at."""

    def die(**_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("workers.preparation.host_speed", die)
        patched.setattr(JobSpec, "split_count", lambda *_, **__: 6)
        worked(tmp_path)
    job, folds = resume(tmp_path, only_job(tmp_path))
    assert job.state == "done", job.error
    assert job.plan is not None
    assert {task.fold for task in folds} == set(range(1, job.plan.folds + 1))
    split = [path.stem for path in tmp_path.glob("artifacts/*/folds-*.npz")]
    assert len(split) == 2 and f"folds-{job.plan.folds_hash[:16]}" in split


def test_a_preparer_that_slept_changes_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It splits otherwise, since its machine has other cores."""
    store, job, worker = prepared(tmp_path)
    with bench_of(store, job, worker) as bench:
        slow = store.jobs.get(job.id)
        monkeypatch.setattr(type(job.spec), "split_count", lambda *_, **__: 7)
        prepare(
            store, slow, data=bench.data, files=bench.files, cache=CACHE, progress=lambda _: None
        )
    assert store.jobs.get(job.id).plan == job.plan
    worker.run()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_a_job_planned_for_a_gpu_is_left_to_workers_that_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(**options: Any) -> Any:
        return host_speed(**options)[0], DevicePlan(device="cuda")

    monkeypatch.setattr("workers.preparation.host_speed", measured)
    monkeypatch.setattr("workers.preparation.memory_for_steps", lambda *_, **__: 10**9)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    store, job, worker = prepared(tmp_path)
    assert job.state == "searching"
    with pytest.raises(WorkerUnfit, match="planned for a GPU, but this worker sees no cuda"):
        worker.run()
    assert store.trials(job).records() == []
    store.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.ESTALE])
def test_the_last_files_of_a_fold_wait_for_their_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    failures = [error, error]

    def write(path: Path, array: Any) -> None:
        if failures:
            raise OSError(failures.pop(), "the disk is away", str(path))
        write_array(path, array)

    trained: list[int] = []

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        trained.append(task.fold)
        run_fold(bench, task, *more, **options)

    monkeypatch.setattr("workers.finalist.write_array", write)
    monkeypatch.setattr("workers.steps.run_fold", run)
    job, folds = worked(tmp_path)
    assert job.state == "done", job.error
    assert all(task.done for task in folds) and not failures
    assert trained == [task.fold for task in folds]  # each once


def test_a_job_cancelled_while_it_is_verified_opens_no_test_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path)

    def verify(*arguments: Any, **options: Any) -> Any:
        probabilities = verify_and_predict(*arguments, **options)
        store.jobs.stop(job.id, state="cancelled")
        return probabilities

    monkeypatch.setattr("workers.assembly.verify_and_predict", verify)
    with bench_of(store, job, worker) as bench:
        rows = bench.data.test_rows
    worker.run()
    assert store.jobs.get(job.id).state == "cancelled"
    assert store.test.all(rows) == []
    assert store.leases.held(job.id) == set()
    store.close()


def test_a_verification_ends_with_the_work_that_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, note = tmp_path / "sleeper", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\necho $$ > {note}.new; mv {note}.new {note}; exec sleep 600\n")
    script.chmod(0o755)
    store, job, worker = prepared(tmp_path)
    check = Heartbeat.check

    def interrupt(heartbeat: Heartbeat) -> None:
        check(heartbeat)
        if note.exists():
            raise Killed

    with bench_of(store, job, worker) as bench, monkeypatch.context() as patched:
        take_steps(bench, "searching", "landing")
        patched.setattr("workers.verification.sys.executable", str(script))
        patched.setattr(Heartbeat, "check", interrupt)
        with pytest.raises(Killed):
            take_steps(bench, "assembling")
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    store.close()


def test_a_job_fails_before_its_lease_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards another worker may be about to finish it."""

    def failing(*_: Any) -> None:
        raise JobFailed("a network must predict as in training")

    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    states = []
    release = store.leases.release

    def noted(*arguments: Any, **options: Any) -> None:
        states.append(store.jobs.list()[0].state)
        release(*arguments, **options)

    monkeypatch.setattr("workers.steps.assemble", failing)
    monkeypatch.setattr(store.leases, "release", noted)
    job = store.jobs.create(JobSpec.parse(SPEC))
    artifacts = tmp_path / "artifacts"
    Worker(store, artifacts=artifacts, cache=CACHE, parent=os.getppid(), job_id=job.id).run()
    assert states == ["failed"]
    assert store.jobs.get(job.id).error == "a network must predict as in training"
    store.close()


def test_deaths_while_a_folds_result_is_written_are_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each holder trains the last epoch once more."""

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("workers.finalist._record", die)
        with pytest.raises(Killed):
            worked(tmp_path)
        for _ in range(MAX_ATTEMPTS - 1):
            with pytest.raises(Killed):
                resume(tmp_path, only_job(tmp_path))
        with pytest.raises(Killed):  # at the next fold
            resume(tmp_path, only_job(tmp_path))
    job, folds = resume(tmp_path, only_job(tmp_path))
    assert job.state == "done", job.error
    assert [task.done for task in folds] == [False, True, True]
    assert "3 attempts without an epoch in between; the last one: Killed" in str(folds[0].report)


def test_asking_for_a_trial_is_given_up_some_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise RuntimeError("the sampler has a bug")

    monkeypatch.setattr("workers.heartbeat.MOST_ATTEMPTS", 2)
    monkeypatch.setattr("workers.steps._ask", die)
    with pytest.raises(RuntimeError, match="bug"):
        worked(tmp_path)
    with pytest.raises(RuntimeError, match="bug"):
        resume(tmp_path, only_job(tmp_path))
    job, _ = resume(tmp_path, only_job(tmp_path))
    assert job.state == "failed"
    assert "2 attempts; the last one: RuntimeError: the sampler has a bug" in str(job.error)


def test_a_worker_that_is_stopped_while_its_disk_is_away_spends_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path)

    def write(path: Path, array: Any) -> None:
        worker.interrupted.set()
        raise OSError(errno.EIO, "the disk is away", str(path))

    monkeypatch.setattr("workers.trial.write_array", write)
    worker.run()
    lease = store.leases.claim(f"{job.id}/trial/0", owner="next")
    assert lease is not None and (lease.fence, lease.attempts) == (2, 1)
    store.close()
