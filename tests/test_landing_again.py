"""Trials of a finished job are landed once more: other members, limits, all rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from athanor.deleting import delete_job
from athanor.landing_again import parse_limits, spec_of
from search.folds import ALL_ROWS
from search.job import Job
from search.store import FoldTask, StudyStore
from spaces.errors import InputError, JobError
from tests.small_job import resume, worked
from workers.files import JobFiles

TRIALS = 4


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job, list[FoldTask]]:
    folder = tmp_path_factory.mktemp("searched")
    job, folds = worked(folder, trials=TRIALS, finalists=1)
    return folder, job, folds


def landed(folder: Path, job: Job, **changes: Any) -> tuple[Job, list[FoldTask]]:
    """Land a job's trials again; return the new job and its folds."""
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    again = store.jobs.create(spec_of(job, changes))
    store.close()
    return resume(folder, again.id)


def result(job: Job) -> dict[str, Any]:
    assert job.state == "done", job.error
    assert job.result is not None
    return job.result


def test_more_members_are_trained_and_what_was_trained_is_kept(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, before = searched
    again, folds = landed(folder, job, finalists=3)
    first = before[0].trial
    assert [task.trial for task in folds[:3]] == [first] * 3
    assert len({task.trial for task in folds}) == 3 and all(task.done for task in folds)
    for old, new in zip(before, folds[:3], strict=True):
        assert (old.trial, old.fold, old.score, old.report) == (
            (new.trial, new.fold, new.score, new.report)
        )
    epochs = {task.report["epochs"] for task in folds if task.report is not None}
    assert max(epochs) - min(epochs) < 1.0  # as long as on the folds before
    found = result(again)
    members = {member["trial"] for member in found["members"]}
    assert members <= {task.trial for task in folds}
    assert found["out_of_fold_score"] >= result(job)["out_of_fold_score"]
    assert "test_accuracy" not in found  # the earlier job has opened it
    assert found["test_opened_before"][0]["job"] == job.id


def test_the_test_set_is_opened_again_only_on_demand(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, _ = searched
    found = result(landed(folder, job, reopen_test=True)[0])
    assert found["test_accuracy"] == result(job)["test_accuracy"]  # the very same networks
    assert found["test_opened_before"][0]["job"] == job.id


def test_a_refit_trains_on_all_rows_and_nothing_else(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, before = searched
    again, folds = landed(folder, job, final="refit")
    assert {task.fold for task in folds} == {ALL_ROWS, 1, 2, 3}
    assert [task.report for task in folds if task.fold != ALL_ROWS] == [t.report for t in before]
    found = result(again)
    assert (found["final"], found["networks"]) == ("refit", 1)
    assert found["out_of_fold_score"] == result(job)["out_of_fold_score"]


def test_a_landing_can_be_landed_again(searched: tuple[Path, Job, list[FoldTask]]) -> None:
    folder, job, _ = searched
    second, folds = landed(folder, job, finalists=2)
    third, kept = landed(folder, second)
    assert [task.report for task in kept] == [task.report for task in folds]
    assert result(third)["out_of_fold_score"] == result(second)["out_of_fold_score"]


def test_an_ensemble_stays_within_its_limit(searched: tuple[Path, Job, list[FoldTask]]) -> None:
    folder, job, _ = searched
    whole, _ = landed(folder, job, finalists=2)
    models = JobFiles(folder / "artifacts", whole.id).folder / result(whole)["model"]
    network = json.loads((models / "model.json").read_text())["networks"][0]
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    each = store.trials(whole).records()[network["trial"]].parameters
    store.close()
    assert each is not None
    limited = result(landed(folder, whole, ensemble_parameters=2 * each + 5)[0])
    assert limited["networks"] == 2 and limited["costs"]["parameters"] <= 2 * each + 5
    slow, _ = landed(folder, whole, ensemble_latency=1e-9)
    assert slow.state == "failed"
    assert slow.error is not None and "must be within the limits {'latency': 1e-09}" in slow.error


def test_what_cannot_be_landed_again(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, _ = searched
    again, _ = landed(folder, job, folds=40)
    assert again.error is not None and "folds must be at most 3" in again.error
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    with pytest.raises(JobError, match="must be deleted first"):
        delete_job(store, job.id, files=JobFiles(folder / "artifacts", job.id))
    records = store.trials(job).records()
    delete_job(store, again.id, files=JobFiles(folder / "artifacts", again.id))
    assert len(records) == TRIALS
    assert len(StudyStore(store.url).trials(job).records()) == TRIALS  # the study is the other's
    store.close()


@pytest.mark.parametrize(
    ("texts", "keys"),
    [
        (["latency=5ms"], {"ensemble_latency": 0.005}),
        (
            ["latency=300us", "parameters=1.5m"],
            {"ensemble_latency": 3e-4, "ensemble_parameters": 1_500_000},
        ),
        (["parameters=20k"], {"ensemble_parameters": 20_000}),
        (["latency=2s"], {"ensemble_latency": 2.0}),
    ],
)
def test_limits_are_read(texts: list[str], keys: dict[str, float]) -> None:
    assert parse_limits(texts) == pytest.approx(keys)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("latency", "one of latency=..., parameters=..., but got 'latency'"),
        ("size=5", "but got 'size=5'"),
        ("latency=fast", "5ms, 300us or 1s, but got 'fast'"),
        ("parameters=-3", "200000, 500k or 1.5m, but got '-3'"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, rule: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_limits([text])
    assert rule in str(refusal.value)
