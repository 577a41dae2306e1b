"""Bad input: one line that states the rule and the value, exit status 2, nothing half-written."""

from pathlib import Path

import numpy as np
import pytest

from search.store import StudyStore
from tests.command import asked, athanor

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
LABELS = np.arange(40) % 4


def write_data(folder: Path) -> None:
    """Write good and bad data files."""
    np.savez(folder / "good.npz", images=IMAGES, labels=LABELS)
    np.savez(folder / "nan.npz", images=np.full((40, 8, 8), np.nan), labels=LABELS)
    np.savez(folder / "one-class.npz", images=IMAGES, labels=np.zeros(40, int))
    np.savez(folder / "empty.npz", images=IMAGES[:0], labels=LABELS[:0])
    names = np.array(["a", "b", "c"])
    np.savez(folder / "label.npz", images=IMAGES, labels=LABELS, class_names=names)
    whole = (folder / "good.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("not an archive")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "fashion-mnits"], "did you mean 'fashion-mnist'?"),
        (["--data", "missing.npz"], "there is none at"),
        (["--data", "cut.npz"], "must be a whole .npz file"),
        (["--data", "text.npz"], "must be a whole .npz file"),
        (["--data", "nan.npz"], "must be finite, but 2560 values"),
        (["--data", "one-class.npz"], "at least 2 classes, but only 0"),
        (["--data", "empty.npz"], "must not be empty"),
        (["--data", "label.npz"], "must lie in 0..2 (3 classes), but row 3 has 3"),
        (["--data", "good.npz", "--folds", "20"], "the judging fold and each of 20 others"),
        (["--data", "good.npz", "--folds", "0"], "folds: "),
        (["--data", "good.npz", "--budget", "soon"], "must look like 90s, 10m or 1h30m"),
        (["--data", "good.npz", "--budget", "3s"], "at least 20 seconds, but got 3"),
        (["--data", "good.npz", "--trials", "0"], "greater than or equal to 1, but got 0"),
        (["--data", "good.npz", "--out", "/proc/model"], "/proc"),
        (["--data", "good.npz", "--artifacts", "/proc/artifacts"], "must be writable"),
        (["--data", "good.npz", "--store", "/proc/store.db"], "must be writable"),
        (["--data", "good.npz", "--store", "mysql://x/y"], "must be a URL like sqlite"),
        (["--data", "good.npz", "--out", "."], "must not exist yet"),
        (["--data", "good.npz", "--out", ".", "--overwrite"], "replaces model folders only"),
        ([], "needs --data or a job file"),
        (["--resume", "nothing"], "no study store"),
        (["--nonsense"], "--nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options_and_data(arguments: list[str], said: str, tmp_path: Path) -> None:
    write_data(tmp_path)
    before = set(tmp_path.rglob("*"))
    process = asked("search", *arguments, cwd=tmp_path)
    assert process.returncode == 2
    assert said in process.stderr
    assert process.stderr.count("\n") == 1, process.stderr
    created = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert created <= {"athanor-runs", "artifacts"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("data: digits\nbudgte: 1m", "unknown key 'budgte'; did you mean 'budget'?"),
        ("data: digits\nspace: {kernels: [3, 4]}", "must be odd"),
        ("data: digits\nspace: {depth: [3, 2]}", "`1 <= low <= high` must hold"),
        ("data: digits\nspace: {recipe: {dropot: [0, 1]}}", "did you mean 'dropout'?"),
        ("- digits", "must hold keys and values"),
        ("data: [", "must be YAML"),
        ("trials: 3", "data: this key is required"),
    ],
)
def test_bad_job_files(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(content)
    process = asked("submit", "job.yaml", cwd=tmp_path)
    assert process.returncode == 2
    assert said in process.stderr and "job.yaml" in process.stderr
    assert process.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_a_store_of_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "athanor.db"
    store = StudyStore(f"sqlite:///{path}", create=True)
    with store.jobs._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE athanor_version SET version_num = '9999'")
    store.close()
    process = asked("jobs", "--store", path, cwd=tmp_path)
    assert process.returncode == 2
    assert "must be at most" in process.stderr and "9999" in process.stderr
    assert process.stderr.count("\n") == 1


def test_an_unknown_job_names_those_there_are(tmp_path: Path) -> None:
    StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True).close()
    process = asked("status", "digits-1", "--store", tmp_path / "athanor.db", cwd=tmp_path)
    assert process.returncode == 2
    assert "no job 'digits-1' in this store; the store holds none" in process.stderr


@pytest.mark.parametrize("command", [["predict", "nothing", "digits"], ["predict", ".", "x.gif"]])
def test_a_folder_that_is_no_model_is_refused(command: list[str], tmp_path: Path) -> None:
    process = athanor(*command, cwd=tmp_path)
    assert process.returncode == 2
    assert "must hold model.json" in process.stderr and process.stderr.count("\n") == 1
