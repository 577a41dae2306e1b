"""Trials of a finished job are landed once more: other members, limits, all rows."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.deleting import delete_job
from athanor.landing_again import refit_workers, spec_of, student_of
from athanor.report.judged import _words
from search.finalists import trained_trials
from search.folds import ALL_ROWS
from search.job import Job
from search.job_spec import JobSpec
from search.store import FoldTask, StudyStore
from spaces.errors import JobError
from tests.command import asked
from tests.small_job import CACHE, bench_of, resume, worked
from tests.statements import statement_of
from workers.distillation import soft_labels, taught
from workers.files import JobFiles
from workers.judged_rows import Opened, combination_of
from workers.out_of_fold import out_of_fold
from workers.worker import Worker

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
    assert ("stacking" in found) == (len(members) > 1)
    assert "test_accuracy" not in found  # the earlier job has opened it
    assert found["test_opened_before"][0]["job"] == job.id


@pytest.mark.parametrize(("each", "kept"), [(0.01, 3), (1000.0, 1)])
def test_networks_that_the_budget_cannot_verify_are_left_out(
    searched: tuple[Path, Job, list[FoldTask]],
    monkeypatch: pytest.MonkeyPatch,
    each: float,
    kept: int,
) -> None:
    folder, job, folds = searched
    assert len(folds) == 3
    monkeypatch.setattr("workers.choice.verifying_seconds", lambda _, tasks, __: each * len(tasks))
    again, _ = landed(folder, job, budget=60.0)
    found = result(again)
    assert found["networks"] == kept and found.get("unverified", 0) == 3 - kept
    assert ("2 more networks are left out" in statement_of(again)) is (kept == 1)


def test_the_test_set_is_opened_again_only_on_demand(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, _ = searched
    store = folder / "athanor.db"
    assert "again since" not in asked("status", job.id, "--store", store, cwd=folder).stdout
    again, _ = landed(folder, job, reopen_test=True)
    found = result(again)
    told = asked("status", job.id, "--store", store, cwd=folder).stdout
    assert f"test set opened again since, by {again.id} (" in told
    assert found["test_accuracy"] == result(job)["test_accuracy"]  # the very same networks
    assert found["test_accuracy_of_members"] == result(job)["test_accuracy_of_members"]
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
    assert found["expected"]["lower"] and found["refit_share"] >= 0.9
    assert found["out_of_fold_score"] == result(job)["out_of_fold_score"]


def test_a_single_refit_has_one_worker_and_all_cores(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, _ = searched
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    many = replace(job, spec=job.spec.model_copy(update={"workers": 4}))
    assert refit_workers(store, many) == 1  # as it has a single finalist
    store.close()


def test_finalists_without_a_weight_are_not_refitted(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    _, job, before = searched
    trial, other = before[0].trial, before[0].trial + 1
    members = [{"trial": trial, "weight": 1.0}, {"trial": other, "weight": 0.0}]
    earlier = replace(job, result={**result(job), "members": members})
    done = [*before, replace(before[0], trial=other)]
    assert trained_trials(earlier, done, final="refit") == [trial]
    assert trained_trials(earlier, done, final=None) == [trial, other]
    assert trained_trials(earlier, done[::-1], final=None) == [trial, other]  # by their weights


def test_a_student_learns_what_the_ensemble_knows(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, before = searched
    student = next(number for number in range(TRIALS) if number != before[0].trial)
    again, folds = landed(folder, job, final="refit", distills=student)
    found = result(again)
    assert {task.trial for task in folds} == {student} and len(folds) == 4
    assert found["networks"] == 1 and found["members"] == [
        {"trial": student, "weight": 1.0, "networks": 1}
    ]
    rows = found["out_of_fold_rows"]
    assert found["teacher"] == {
        "job": job.id,
        "networks": 3,
        "score": pytest.approx(result(job)["out_of_fold_score"]),  # all of its rows
        "rows": rows,
    }
    for task in folds:
        assert task.report is not None and task.report["train_accuracy"] > 0.2


def test_soft_labels_are_what_networks_say_that_had_not_seen_the_row(
    searched: tuple[Path, Job, list[FoldTask]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job, before = searched
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    again = store.jobs.create(spec_of(job, {"final": "refit", "distills": before[0].trial}))
    worker = Worker(
        store, artifacts=folder / "artifacts", cache=CACHE, parent=os.getppid(), job_id=again.id
    )
    worker._work_on(again)
    with bench_of(store, store.jobs.get(again.id), worker) as bench:
        labels = soft_labels(bench)
        assert labels.shape == (len(bench.data.train_labels), 10)
        assert np.allclose(labels.sum(1), 1.0, atol=1e-5)
        right = np.take_along_axis(labels, bench.data.train_labels[:, None], 1)[:, 0]
        assert right.min() >= 0.3 - 1e-6
        judging = bench.folds.folds[0].validation_rows  # which no network has left out
        assert (right[judging] == 1.0).all()
        first = bench.folds.folds[1].validation_rows
        assert before[0].files is not None
        said = np.load(folder / "artifacts" / job.id / before[0].files / "out_of_fold.npy")
        hard = np.eye(10)[bench.data.train_labels[first]]
        assert np.allclose(labels[first], 0.7 * said + 0.3 * hard, atol=1e-5)
        taught_rows = taught(bench, bench.fold_rows(2), fold=2)
        assert taught_rows.soft_labels is not None
        rows = bench.folds.folds[2].train_rows
        assert np.array_equal(taught_rows.soft_labels, labels[rows])

        for module in ("distillation", "judged_rows"):
            monkeypatch.setattr(f"workers.{module}.is_stacked", lambda _: True)
        files = JobFiles(folder / "artifacts", job.id)
        each = out_of_fold(Opened(bench.data, bench.folds, files), before)
        stacked = combination_of(job, each).combine({n: e.probabilities for n, e in each.items()})
        assert not np.allclose(stacked[first], said, atol=1e-3)
        assert np.allclose(soft_labels(bench)[first], 0.7 * stacked[first] + 0.3 * hard, atol=1e-5)
    store.jobs.stop(again.id, state="cancelled")
    store.close()


def test_a_student_is_the_best_trial_that_is_small_enough(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, before = searched
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    board = store.trials(job).leaderboard()
    sizes = {record.number: record.parameters or 0 for record in board}
    assert student_of(store, job, parameters=None) == before[0].trial
    assert student_of(store, job, parameters="10m") == board[0].number
    smallest = f"at most 1 parameters, but the smallest trial has {min(sizes.values()):,}"
    with pytest.raises(JobError, match=smallest):
        student_of(store, job, parameters="1")
    with pytest.raises(JobError, match="belongs to a job that lands another one"):
        spec_of(job, {"distills": 0, "final": "bag"})
    store.close()


def test_a_landing_can_be_landed_again(searched: tuple[Path, Job, list[FoldTask]]) -> None:
    folder, job, _ = searched
    second, folds = landed(folder, job, finalists=2)
    third, kept = landed(folder, second)
    trained, again = (
        {(task.trial, task.fold): task.report for task in tasks} for tasks in (folds, kept)
    )
    assert again == trained  # whoever weighs most comes first now
    assert "chosen_among" not in result(second) and "chosen_among" not in result(third)
    alone, _ = landed(folder, second, finalists=1)  # the one that these very rows preferred
    assert result(alone)["chosen_among"] == 2 and not result(alone)["expected"]["lower"]
    assert "chose these trials among 2 before" in statement_of(alone)
    assert result(landed(folder, alone)[0])["chosen_among"] == 2  # nor does another landing undo it
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
    unknown, _ = landed(folder, job, final="refit", distills=99)
    assert unknown.error is not None and "a finished trial of [0, " in unknown.error
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


def test_a_job_that_goes_on_cannot_be_landed(tmp_path: Path) -> None:
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    queued = store.jobs.create(JobSpec.parse({"data": "digits", "trials": 1}))
    again = store.jobs.create(JobSpec.parse({"data": "digits", "lands": queued.id}))
    store.close()
    job, _ = resume(tmp_path, again.id)
    assert job.state == "failed" and job.error is not None
    assert f"{queued.id} is queued" in job.error


@pytest.mark.parametrize(("share", "final", "lower"), [(0.2, "bag", True), (0.7, "refit", False)])
def test_folds_speak_only_for_a_refit_that_was_trained_like_them(
    searched: tuple[Path, Job, list[FoldTask]],
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    final: str,
    lower: bool,
) -> None:
    folder, job, before = searched
    images = before[0].report["images"]  # type: ignore[index]
    monkeypatch.setattr(
        "workers.landing_again._images_of", lambda _: {before[0].trial: round(share * images)}
    )
    again, folds = landed(folder, job, final="refit")
    found = result(again)
    assert found["refit_share"] == pytest.approx(share, abs=0.2)
    assert (found["final"], found["expected"]["lower"]) == (final, lower)
    assert found["networks"] == (3 if final == "bag" else 1)
    said = statement_of(again, *folds)
    told = "of the images that a network of the folds saw" in said
    assert told
    assert "promised" not in said  # it has no search of its own
    reported = " ".join(_words(found, {"trial": 1.0}))
    assert ("of the images that a network of the folds saw" in reported) is (final == "refit")


def test_what_was_taught_is_no_measure_of_other_networks(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, before = searched
    student, _ = landed(folder, job, final="refit", distills=before[0].trial)
    again, _ = landed(folder, student, final="refit")
    assert again.state == "failed" and again.error is not None
    assert f"but {student.id} has distilled {job.id}" in again.error


def test_a_refit_is_kept_where_none_is_asked_for(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, _ = searched
    refit, first = landed(folder, job, final="refit")
    again, folds = landed(folder, refit, ensemble_parameters=10_000_000)
    assert [task.report for task in folds] == [task.report for task in first]
    assert result(again)["final"] == "refit"


def test_who_lost_a_race_is_no_reason_for_a_worker(
    searched: tuple[Path, Job, list[FoldTask]],
) -> None:
    folder, job, before = searched
    raced = folder / "raced"
    raced.mkdir()
    store = StudyStore(f"sqlite:///{raced}/athanor.db", create=True)
    copy = store.jobs.create(job.spec)
    store.folds.plan(copy.id, trials=[before[0].trial, 99], folds=[0, 1])
    for task in store.folds.all(copy.id):
        if task.trial != 99 or task.fold == 0:
            store.folds.record(task, files="", score=0.5, report={})
    many = replace(
        copy,
        spec=copy.spec.model_copy(update={"workers": 4}),
        result={"members": [{"trial": before[0].trial, "weight": 1.0}]},
    )
    assert refit_workers(store, many) == 1
    store.close()
