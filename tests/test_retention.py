"""What stays of a job's files: what counts, and nothing that a holder may still need is removed."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from search.store import Lease, StudyStore
from tests.small_job import resume, worked
from tests.test_checkpoints import loaded_epoch, save
from workers import trial
from workers.checkpoints import save_checkpoint
from workers.files import JobFiles
from workers.retention import tidy, tidy_models

FOLD_FILES = {"weights.safetensors", "out_of_fold.npy", "meta.json"}


def names(folder: Path) -> set[str]:
    """Return what lies in a folder, hidden files and all."""
    return set(os.listdir(folder)) if folder.exists() else set()


def test_an_ended_trial_keeps_the_folder_that_counts_and_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    save(tmp_path / "1", epoch=4)
    for epoch in (4, 5):
        save(tmp_path / "2", epoch=epoch)
    (tmp_path / "2" / "validation.npy").write_bytes(b"counts")
    (tmp_path / "2" / ".epoch-00006.json.1234.tmp").write_bytes(b"torn by a death")
    tidy(tmp_path, keep=tmp_path / "2", until=2, checkpoints=1)
    assert names(tmp_path) == {"2"}
    assert names(tmp_path / "2") == {
        "validation.npy",
        "epoch-00005.json",
        "epoch-00005.safetensors",
    }
    assert loaded_epoch(tmp_path) == 5


def test_a_later_holders_files_are_not_for_an_earlier_one_to_remove(tmp_path: Path) -> None:
    for fence in ("9", "10"):
        save(tmp_path / fence, epoch=1)
    tidy(tmp_path, until=9)
    assert names(tmp_path) == {"10"}
    assert loaded_epoch(tmp_path) == 1


def test_unfinished_models_of_former_holders_are_removed(tmp_path: Path) -> None:
    models = JobFiles(tmp_path, "job").folder / "models"
    for name in ("1", ".2.staging", "3", ".3.staging", ".4.staging"):
        (models / name).mkdir(parents=True)
    (models / ".2.staging.request.npz").write_bytes(b"")
    tidy_models(JobFiles(tmp_path, "job"), Lease("job/assemble", "me", fence=3, attempts=2))
    assert names(models) == {"3", ".3.staging", ".4.staging"}


def test_a_job_that_is_done_keeps_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.retention.KEPT_TRIALS", 2)
    job, folds = worked(tmp_path, trials=6, search_epochs=2, discard_after=1, keep=2)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    board = store.trials(job).leaderboard()
    records = store.trials(job).records()
    store.close()
    assert {"complete", "pruned"} <= {record.state for record in records}
    files = JobFiles(tmp_path / "artifacts", job.id)
    best = {record.number for record in board[:2]} | {task.trial for task in folds}
    for record in records:
        kept = names(files.folder / str(record.files)) if record.state == "complete" else set()
        checkpoints = {name for name in kept if name.startswith("epoch-")}
        assert len(checkpoints) == (2 if kept and record.number in best else 0)
        assert kept - checkpoints == ({"validation.npy"} if kept else set())
        assert len(names(files.trial(record.number))) == bool(kept)
    assert any(record.state == "complete" and record.number not in best for record in records)
    for task in folds:
        assert names(files.finalist(task.trial, task.fold) / "1") == FOLD_FILES
    assert names(files.folder / "models") == {"1"}


def test_a_trial_taken_over_after_its_last_epoch_keeps_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(trial._TrialRun, "_complete", dying)
        worked(tmp_path)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    (job,) = store.jobs.list()
    store.close()
    resume(tmp_path, job.id)
    files = JobFiles(tmp_path / "artifacts", job.id)
    assert names(files.trial(0)) == {"2"}
    assert {"epoch-00001.json", "validation.npy"} <= names(files.trial(0) / "2")


def test_an_epoch_waits_for_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    saved: list[int] = []

    def full(folder: Path, state: Any, *, candidate: Any, epoch: int) -> None:
        saved.append(epoch)
        if len(saved) <= 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        save_checkpoint(folder, state, candidate=candidate, epoch=epoch)

    monkeypatch.setattr(trial, "save_checkpoint", full)
    monkeypatch.setattr("search.store.patience.TOLD_AFTER", 0.0)
    job, _ = worked(tmp_path, trials=1, search_epochs=2)
    assert job.state == "done", job.error
    assert saved[:3] == [1, 1, 1] and sorted(set(saved[3:])) == saved[3:]  # each is trained once
    told = capfd.readouterr().out
    assert "waiting for the disk: [Errno 28] No space left on device" in told
