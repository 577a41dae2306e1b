"""Commands that a person gives after a job has ended, as the command line takes them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.folds import ALL_ROWS, Folds
from search.job import Job
from search.job_spec import JobSpec
from search.label_noise import suspected_labels
from search.predictions import OutOfFoldPredictions
from search.store import FoldTask, StudyStore
from tests.command import asked, athanor, on_one_core, result_of
from tests.small_job import CACHE, worked
from workers.data import load_data
from workers.files import JobFiles
from workers.fold_files import FoldFiles
from workers.model_folder import read_manifest

WRONG = np.arange(0, 1200, 40)  # rows whose labels are


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job, list[FoldTask]]:
    folder = tmp_path_factory.mktemp("ended")
    digits = load_data("digits", cache=CACHE)
    labels = digits.train_labels.copy()
    labels[WRONG] = (labels[WRONG] + 5) % 10
    np.savez(
        folder / "wrong.npz",
        images=digits.train_images,
        labels=labels,
        test_images=digits.test_images,
        test_labels=digits.test_labels,
    )
    data = str(folder / "wrong.npz")
    job, folds = worked(folder, data=data, trials=2, finalists=1, search_epochs=2)
    assert job.state == "done", job.error
    return folder, job, folds


def of_store(folder: Path) -> Sequence[str | Path]:
    return ("--store", folder / "athanor.db", "--artifacts", folder / "artifacts")


def test_suspected_labels_are_those_that_the_folds_networks_doubt(
    ended: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, tasks = ended
    found = result_of(asked("data", "noise", job.id, *of_store(folder), "--json", cwd=folder))
    data = load_data(job.spec.data, cache=CACHE)
    assert job.plan is not None
    files = JobFiles(folder / "artifacts", job.id)
    folds = Folds.load(files.folds(job.plan.folds_hash))
    said = OutOfFoldPredictions.empty(data.train_labels, data.classes)
    for task in tasks:
        assert task.files is not None
        predicted = np.load(FoldFiles(files.folder / task.files).predictions)
        said = said.with_fold(folds.folds[task.fold].validation_rows, predicted)
    rows = suspected_labels(said)
    assert found["rows"] == int(said.covered.sum()) > 900
    suspected = [each["row"] for each in found["suspected"]]
    assert suspected == rows.tolist()
    known = set(WRONG[said.covered[WRONG]])
    assert len(known & set(suspected)) > len(known) / 2
    for each in found["suspected"]:
        assert each["label"] == data.class_names[data.train_labels[each["row"]]]
        assert each["label"] != each["predicted"]
    sheet = folder / "doubtful.png"
    told = asked(
        "data", "noise", job.id, *of_store(folder), "--top", "1", "--sheet", sheet, cwd=folder
    )
    assert told.returncode == 0, told.stderr
    assert f"1 of {found['rows']:,} labels" in " ".join(told.stdout.split())
    assert str(found["suspected"][0]["row"]) in told.stdout
    with Image.open(sheet) as drawn:
        assert np.asarray(drawn).min() < 128


def test_a_job_s_runs_are_written_for_tensorboard(
    ended: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, _ = ended
    told = asked("log", job.id, *of_store(folder), "--tensorboard", folder / "events", cwd=folder)
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == str(folder / "events")
    assert {path.name for path in (folder / "events").iterdir()} == {job.id, "trial-0", "trial-1"}
    neither = asked("log", job.id, *of_store(folder), cwd=folder)
    assert neither.returncode != 0 and "needs --tensorboard or --mlflow" in neither.stderr


def test_who_has_opened_a_test_set_is_told_of_a_job_that_left_it_closed(tmp_path: Path) -> None:
    closed, _ = worked(tmp_path, keep_test_closed=True)

    def told(command: str, *options: str) -> str:
        process = asked(command, closed.id, "--store", "athanor.db", *options, cwd=tmp_path)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def report() -> str:
        told("report", "--out", "page.md", "--artifacts", "artifacts")
        return (tmp_path / "page.md").read_text()

    assert "Nobody: it is sealed." in report()
    assert "since, by" not in told("status")
    later, _ = worked(tmp_path, seed=1)
    assert later.result is not None
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    assert later.plan is not None
    store.test.look(closed.id, rows=later.plan.test_rows, by="me", score=0.75)
    store.close()
    page, status = report(), told("status")
    assert "Nobody" not in page and later.id in page and "athanor predict" in page
    assert f"test set opened since, by {later.id}" in status
    assert f"{closed.id} ({time.strftime('%Y-%m-%d')}, score 0.7500)" in status


def test_finalists_are_trained_on_all_rows_by_a_command(
    ended: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, tasks = ended
    process = athanor(
        "refit",
        job.id,
        *of_store(folder),
        "--out",
        "refitted",
        "--json",
        cwd=folder,
        start=on_one_core(),
    )
    found = result_of(process)
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    again = store.jobs.get(found["job"])
    folds = store.folds.all(again.id)
    store.close()
    assert again.state == "done" and again.spec.lands == job.id and again.result is not None
    assert (again.result["final"], again.result["networks"]) == ("refit", 1)
    assert {task.fold for task in folds} == {ALL_ROWS, *(task.fold for task in tasks)}
    manifest = read_manifest(folder / "refitted")
    assert len(manifest.networks) == 1
    assert "test_accuracy" not in found  # the search has opened it


def test_what_the_commands_are_given_is_what_is_landed(
    ended: tuple[Path, Job, list[FoldTask]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job, _ = ended
    noted: list[JobSpec] = []

    def note(spec: JobSpec, _: Any) -> int:
        noted.append(spec)
        return 0

    monkeypatch.setattr("athanor.landing_again.run_search", note)
    places = of_store(folder)
    more = ("--folds", "2", "--budget", "60s", "--reopen-test")
    chosen = ("--members", "2", "--final", "best")
    asked("ensemble", job.id, *chosen, *more, *places, cwd=folder)
    asked("distill", job.id, "--trial", "1", *more, *places, cwd=folder)
    asked("distill", job.id, "--max-parameters", "10m", *places, cwd=folder)
    asked("refit", job.id, *places, cwd=folder)
    ensemble, student, small, refit = noted
    assert (ensemble.finalists, ensemble.final, ensemble.distills) == (2, "best", None)
    for spec in (ensemble, student):
        assert (spec.lands, spec.folds, spec.budget, spec.reopen_test) == (job.id, 2, 60.0, True)
    assert (student.final, student.distills) == ("refit", 1)
    assert (small.lands, small.budget, small.reopen_test) == (job.id, None, False)
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    assert small.distills == store.trials(job).leaderboard()[0].number
    store.close()
    assert (refit.final, refit.distills) == ("refit", None)
    both = asked("distill", job.id, "--trial", "1", "--max-parameters", "10m", *places, cwd=folder)
    assert both.returncode != 0 and "but got both" in both.stderr and len(noted) == 4
