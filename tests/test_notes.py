"""The Optuna dashboard shows of a job's trials and study what the store knows of them."""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna_dashboard import get_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard.artifact._backend import list_trial_artifacts
from PIL import Image

from athanor.deleting import delete_job
from search.job import Job
from search.metrics import score_text
from search.store import StudyStore, Trials
from search.store.records import TrialRecord
from tests.records import record
from tests.small_job import bench_of, prepared, take_steps, worked
from workers.files import JobFiles
from workers.study_notes import drawn_confusion
from workers.study_plots import front_plot
from workers.trial_notes import trial_note

PLOTS = {"leaderboard", "budget", "ensemble", "front", "confusion"}
SPEC: dict[str, Any] = {
    "trials": 4,
    "folds": 2,
    "search_rows": 120,
    "search_epochs": 2,
    "minimize": "parameters",
    "max_parameters": 4000,
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [4, 16], "width_rule": "double"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def job(folder: Path) -> Job:
    job, _ = worked(folder, **SPEC)
    assert job.state == "done", job.error
    return job


@pytest.fixture(scope="module")
def trials(folder: Path, job: Job) -> Iterator[Trials]:
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    yield store.trials(job)
    store.close()


def notes_of(trials: Trials) -> list[tuple[TrialRecord, str]]:
    return [
        (ended, get_note(trials.open(ended.number))) for ended in trials.records() if not ended.open
    ]


def test_each_trial_says_how_it_ended_and_draws_its_network(trials: Trials) -> None:
    noted = notes_of(trials)
    assert len(noted) >= 4
    for ended, note in noted:
        assert "aken over" not in note
        assert note.startswith(f"**{ended.state}**")
        assert ended.candidate is not None and f"`{ended.candidate.architecture}`" in note
        assert f"{ended.parameters:,} parameters" in note and "head" in note
        if ended.score is not None:
            assert score_text(ended.score) in note and "validation `" in note
        if ended.state in ("complete", "pruned"):
            assert "training loss `" in note
        if ended.note:
            assert ended.note[1:] in note


def test_the_study_names_the_best_within_the_limits(trials: Trials, job: Job) -> None:
    note, best = get_note(trials.study), trials.leaderboard()[0]
    assert job.result is not None
    assert f"**Best trial: {best.number}**" in note and best.state in ("complete", "copied")
    assert score_text(job.result["out_of_fold_score"]) in note
    assert score_text(job.result["test_accuracy"]) in note


def test_the_study_has_plots_of_the_store_s_figures(trials: Trials, job: Job) -> None:
    study = trials.study
    stored = study._storage.get_study_system_attrs(study._study_id)
    found = {name: json.loads(text) for name, text in get_plotly_graph_objects(stored).items()}
    assert found.keys() >= PLOTS
    scores = [each.score for each in trials.leaderboard()]
    assert found["leaderboard"]["data"][0]["y"] == scores
    assert job.result is not None
    assert found["ensemble"]["data"][0]["y"][-1] == job.result["out_of_fold_score"]
    counts = np.array(found["confusion"]["data"][0]["z"])
    assert counts.sum() == job.result["out_of_fold_rows"]
    assert counts.trace() / counts.sum() == job.result["out_of_fold_accuracy"]


def test_the_heaviest_member_has_its_network_and_the_confusion(
    folder: Path, trials: Trials, job: Job
) -> None:
    assert job.result is not None
    best = job.result["members"][0]["trial"]
    study, trial = trials.study, trials.study.get_trials()[best]
    stored = study._storage.get_study_system_attrs(study._study_id)
    kept = list_trial_artifacts(stored, trial.system_attrs, trial)
    names = {each["filename"]: each["artifact_id"] for each in kept}
    assert set(names) == {"weights.safetensors", "meta.json", "confusion.png"}
    root = folder / "artifacts"
    assert json.loads((root / names["meta.json"]).read_text())["candidate"]
    image = Image.open(io.BytesIO((root / names["confusion.png"]).read_bytes()))
    assert image.size == (160, 160)


def test_a_deleted_job_leaves_no_file(folder: Path, job: Job, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    root, store = (
        tmp_path / "copy" / "artifacts",
        StudyStore(f"sqlite:///{tmp_path}/copy/athanor.db"),
    )
    assert sum(path.is_file() for path in root.iterdir()) == 3
    delete_job(store, job.id, files=JobFiles(root, job.id))
    assert list(root.iterdir()) == []
    store.close()


def test_who_took_a_trial_over_says_so(tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, trials=1)
    trials = store.trials(job)
    with bench_of(store, job, worker) as bench:
        trial = bench.trials.ask()
        died = store.leases.claim(f"{job.id}/trial/{trial.number}", owner="somebody")
        assert died is not None
        store.leases.release(died)
        take_steps(bench, "searching")
    assert "aken over once" in get_note(trials.open(trial.number))
    store.close()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("diverged", "no longer a finite number"),
        ("out of memory", "more memory than there is"),
        ("out of time", "the search's time was over"),
        ("failed", "given up"),
    ],
)
def test_each_end_is_said_in_words(state: str, said: str, job: Job) -> None:
    assert job.plan is not None
    text = trial_note(record(3, 0.5, state=state), job.plan)
    assert text.startswith(f"**{state}**") and said in text


def test_once_networks_have_raced_the_front_is_theirs() -> None:
    board = [record(0, 0.9, macs=30), record(1, 0.8, macs=10), record(2, 0.7, macs=20)]
    trials, front = front_plot(board, [1, 0], cost="macs", label="accuracy", raced={})["data"]
    assert (trials["x"], trials["y"]) == ([10, 20, 30], [0.8, 0.7, 0.9])
    assert (front["x"], front["y"]) == ([10, 30], [0.8, 0.9])
    raced = {0: 0.91, 1: 0.95}
    trials, front = front_plot(board, [1], cost="macs", label="accuracy", raced=raced)["data"]
    assert (trials["x"], trials["y"]) == ([10, 30], [0.95, 0.91])
    assert (front["x"], front["y"]) == ([10], [0.95])


def test_a_confusion_is_drawn_darker_where_there_is_more() -> None:
    drawn = np.asarray(drawn_confusion(np.array([[8, 2], [0, 5]])))
    middle: Sequence[Sequence[int]] = drawn[8::16, 8::16].tolist()
    assert middle[0][0] < middle[0][1] < middle[1][0] == 255 and middle[1][1] == 0
