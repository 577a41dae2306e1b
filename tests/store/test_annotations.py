"""What is written of a study is what the Optuna dashboard reads, and people's own words stay."""

import json
from pathlib import Path

import pytest
from optuna.trial import Trial
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects
from optuna_dashboard.artifact._backend import list_trial_artifacts

from search.job_spec import JobSpec
from search.store import StudyStore, Trials
from search.store.annotations import MOST_NOTED, PIECE

LONG = "a line of a note\n" * 300
FIGURE = {"data": [{"type": "bar", "y": list(range(1000))}], "layout": {}}


@pytest.fixture
def trials(store: StudyStore) -> Trials:
    return store.trials(store.jobs.create(JobSpec.parse({"data": "digits", "trials": 4})))


def plots(trials: Trials) -> dict[str, object]:
    storage, study = trials.study._storage, trials.study
    found = get_plotly_graph_objects(storage.get_study_system_attrs(study._study_id))
    return {name: json.loads(text) for name, text in found.items()}


def test_notes_are_read_as_they_were_written(trials: Trials) -> None:
    first, second = trials.ask(), trials.ask()
    trials.annotations.note_trial(first, "**complete** ▁▅█")
    trials.annotations.note_study(LONG)
    assert get_note(first) == "**complete** ▁▅█"
    assert get_note(second) == ""
    assert get_note(trials.study) == LONG
    trials.annotations.note_trial(second, LONG)
    assert get_note(second) == LONG[:PIECE]


def test_what_somebody_wrote_by_hand_stays(trials: Trials) -> None:
    trial = trials.ask()
    save_note(trial, "mine")
    save_note(trials.study, "mine, too")
    trials.annotations.note_trial(trial, "ours")
    trials.annotations.note_study("ours")
    assert get_note(trial) == "mine" and get_note(trials.study) == "mine, too"


def test_so_many_trials_have_notes_and_no_more(trials: Trials, store: StudyStore) -> None:
    trial = trials.ask()
    beyond = Trial(trials.study, trial._trial_id)
    beyond._cached_frozen_trial.number = MOST_NOTED
    trials.annotations.note_trial(beyond, "one too many")
    assert get_note(trial) == ""


def test_a_plot_takes_the_place_of_a_longer_one(trials: Trials) -> None:
    trials.annotations.plot("front", FIGURE)
    trials.annotations.plot("front.other", {"data": [], "layout": {"title": {"text": "t"}}})
    assert plots(trials)["front"] == FIGURE
    short: dict[str, object] = {"data": [], "layout": {}}
    trials.annotations.plot("front", short)
    assert plots(trials)["front"] == short and len(plots(trials)) == 2


def test_a_file_is_kept_once_and_removed(trials: Trials, tmp_path: Path) -> None:
    trials.tell(trials.ask(), "complete", score=0.5)
    root, file = tmp_path / "root", tmp_path / "weights.safetensors"
    root.mkdir()
    file.write_bytes(b"weights")
    for _ in range(2):
        trials.annotations.attach(0, file, root=root)
    storage, trial = trials.study._storage, trials.study.get_trials()[0]
    stored = storage.get_study_system_attrs(trials.study._study_id)
    (kept,) = list_trial_artifacts(stored, trial.system_attrs, trial)
    assert kept["filename"] == file.name
    assert (root / kept["artifact_id"]).read_bytes() == b"weights"
    trials.annotations.remove_files(root=root)
    assert list(root.iterdir()) == [] and file.exists()
