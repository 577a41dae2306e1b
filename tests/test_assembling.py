"""The last step of a job, taken in this very process: who dies in it does not lose the job."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.job_spec import JobSpec
from search.row_sketch import RowSketch
from search.store import FoldTask, StudyStore
from spaces.errors import JobError
from tests.small_job import CACHE, SPEC, bench_of, failing, prepared, take_steps, worked
from tests.statements import statement_of
from workers.choice import _comparable, _finished_folds
from workers.finalist import run_fold
from workers.model_folder import read_manifest
from workers.steps import MAX_ATTEMPTS
from workers.worker import Worker


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


def test_a_verification_that_is_killed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="with status 1"):
        patched.setattr(sys, "executable", "/bin/false")
        worker.run()
    assert store.jobs.get(job.id).state == "assembling"
    worker.run()
    assert store.jobs.get(job.id).state == "done"
    store.close()


def test_a_verification_that_always_dies_fails_the_job_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.MAX_LANDINGS", 2)
    store, job, worker = prepared(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/bin/false")
        for _ in range(2):
            with pytest.raises(RuntimeError, match="with status 1"):
                worker.run()
        worker.run()
    error = store.jobs.get(job.id).error
    assert error is not None and "2 attempts; the last one: RuntimeError: the verif" in error
    store.close()


@pytest.mark.parametrize("final", ["bag", "best", "refit"])
def test_what_is_made_of_the_folds(final: str, tmp_path: Path) -> None:
    job, folds = worked(tmp_path, final=final)
    assert job.state == "done", job.error
    assert job.result is not None and job.result["final"] == final
    manifest = read_manifest(next(tmp_path.glob("**/models/*")))
    kept = sorted(network.fold for network in manifest.networks)
    done = {task.fold: task for task in folds if task.done}
    best = max((task for task in folds if task.fold > JUDGING_FOLD), key=lambda t: t.score or 0)
    expected = {"bag": [1, 2, 3], "best": [best.fold], "refit": [ALL_ROWS]}
    assert kept == expected[final]
    assert set(done) == {1, 2, 3} | ({ALL_ROWS} if final == "refit" else set())
    assert sum(network.weight for network in manifest.networks) == pytest.approx(1.0)
    judged = Folds.load(next(tmp_path.glob("**/folds*.npz"))).folds[1:]
    assert job.result["out_of_fold_rows"] == (
        len(Folds.load(next(tmp_path.glob("**/folds*.npz"))).folds[best.fold].validation_rows)
        if final == "best"
        else sum(len(fold.validation_rows) for fold in judged)
    )
    low, high = job.result["expected"]["interval"]
    assert low < job.result["expected"]["score"] < high
    assert job.result["expected"]["rows"] == sum(len(fold.validation_rows) for fold in judged)
    assert job.result["expected"]["lower"] is (final != "best")


def test_a_refit_sees_every_row_and_its_folds_speak_for_it(tmp_path: Path) -> None:
    _, folds = worked(tmp_path, final="refit")
    (refit,) = (task for task in folds if task.fold == ALL_ROWS)
    one = next(task for task in folds if task.fold == 1)
    assert refit.report is not None and one.report is not None
    ratio = refit.report["images"] / one.report["images"]
    assert ratio == pytest.approx(4 / 3, rel=0.1)  # of four parts a fold leaves one out


def test_where_there_is_no_time_for_a_refit_the_folds_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.run_fold", failing(ALL_ROWS, MemoryError("out of memory")))
    job, folds = worked(tmp_path, final="refit")
    assert job.result is not None
    assert (job.result["final"], job.result["networks"]) == ("bag", 3)
    (refit,) = (task for task in folds if task.fold == ALL_ROWS)
    other = replace(refit, trial=7, state="done", report={"images": 1})  # another finalist's
    assert "no 'refit' (out of memory): the folds'" in statement_of(job, other, refit)


def lacking(trial: int, fold: int) -> Callable[..., None]:
    """Return a `run_fold` that runs out of memory on one fold of one trial."""

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if (task.trial, task.fold) == (trial, fold):
            raise MemoryError("out of memory")
        run_fold(bench, task, *more, **options)

    return run


@pytest.mark.parametrize(("folds", "counted"), [(3, {1, 3}), (1, {1})])
def test_a_finalist_that_lacks_a_fold_keeps_its_other_networks(
    folds: int, counted: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are compared by what both have; who has too little in common is left out."""
    monkeypatch.setattr("workers.steps.run_fold", lacking(0, 2 if folds > 1 else 1))
    store, job, worker = prepared(tmp_path, trials=2, finalists=2, folds=folds)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching", "landing")
        trained, judged = _comparable(_finished_folds(bench))
        take_steps(bench, "assembling")
    done = store.jobs.get(job.id)
    store.close()
    assert done.state == "done" and done.result is not None
    assert {task.fold for task in judged} == counted
    assert len(trained) == 2 * folds - 1 and len(judged) == (4 if folds > 1 else 1)
    members = {member["trial"] for member in done.result["members"]}
    assert done.result["networks"] == sum(task.trial in members for task in trained)
    parts = Folds.load(next(tmp_path.glob("**/folds*.npz"))).folds
    rows = sum(len(parts[fold].validation_rows) for fold in counted)
    assert done.result["out_of_fold_rows"] == done.result["expected"]["rows"] == rows


def test_the_estimate_of_the_best_network_is_of_its_trial_alone(tmp_path: Path) -> None:
    job, folds = worked(tmp_path, trials=3, finalists=2, final="best")
    assert job.result is not None
    (member,) = job.result["members"]
    parts = Folds.load(next(tmp_path.glob("**/folds*.npz"))).folds
    rows = [len(parts[task.fold].validation_rows) for task in folds]
    own = [
        (n * (t.score or 0), n)
        for t, n in zip(folds, rows, strict=True)
        if t.trial == member["trial"]
    ]
    assert job.result["best_of"] == len(folds) == 6
    right, count = map(sum, zip(*own, strict=True))
    assert job.result["expected"]["score"] == pytest.approx(right / count)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_a_job_is_judged_by_its_metric(metric: str, tmp_path: Path) -> None:
    job, folds = worked(tmp_path, metric=metric, search_epochs=2)
    assert job.state == "done" and job.result is not None
    assert job.result["metric"] == metric
    low, high = job.result["test_score_interval"]
    assert low <= job.result["test_score"] <= high
    assert (job.result["test_score"] < 0.0) is (metric == "log_loss")
    scores = [task.score for task in folds if task.done and task.score is not None]
    assert min(scores) - 0.2 < job.result["out_of_fold_score"] < max(scores) + 0.2
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    (record,) = (each for each in store.trials(job).records() if each.finished)
    assert record.error is not None and 0.0 < record.error < 0.2
    assert record.score is not None and (record.score < 0.0) is (metric == "log_loss")
    store.close()


def test_finalists_weights_are_not_scored_on_the_rows_that_chose_them(tmp_path: Path) -> None:
    job, _ = worked(tmp_path, trials=3, finalists=2, metric="log_loss")
    assert job.result is not None and len(job.result["out_of_fold_of_members"]) == 2
    assert job.result["out_of_fold_score"] == job.result["expected"]["score"]
    assert abs(job.result["out_of_fold_score"] - job.result["fitted_score"]) > 1e-5


def test_a_first_look_may_leave_the_test_set_closed(tmp_path: Path) -> None:
    looked, _ = worked(tmp_path, keep_test_closed=True)
    assert looked.state == "done" and looked.result is not None
    assert "test_accuracy" not in looked.result and looked.result["expected"]["score"] > 0.0
    searched, _ = worked(tmp_path)
    assert searched.result is not None and searched.result["test_opened_before"] == []
    assert searched.result["test_accuracy"] > 0.0
    assert "kept closed, as was asked" in statement_of(looked)
    with pytest.raises(JobError, match="kept closed or reopened, but both"):
        JobSpec.parse({"data": "digits", "keep_test_closed": True, "reopen_test": True})


def test_a_test_set_is_opened_once_unless_somebody_says_so(tmp_path: Path) -> None:
    first, _ = worked(tmp_path)
    second, _ = worked(tmp_path, seed=1)
    third, _ = worked(tmp_path, seed=2, reopen_test=True)
    assert first.result is not None and second.result is not None and third.result is not None
    assert first.result["test_opened_before"] == []
    alone = {"trial-0": pytest.approx(first.result["test_accuracy"])}
    assert first.result["test_accuracy_of_members"] == alone
    assert "test_accuracy" not in second.result and "test_interval" not in second.result
    assert second.result["expected"]["score"] > 0.0
    for later in (second, third):
        (opening,) = later.result["test_opened_before"]  # type: ignore[index]
        assert opening["job"] == first.id
        assert opening["score"] == first.result["test_accuracy"]
    assert third.result["test_accuracy"] > 0.0
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    manifest = read_manifest(sorted(tmp_path.glob(f"**/{second.id}/models/*"))[0])
    once, sealed, again = (statement_of(job) for job in (first, second, third))
    assert "opened once" in once and "opened before" not in once
    assert "not opened" in sealed and f"opened before by {first.id}" in sealed
    assert "opened 2 times" in again and f"opened before by {first.id}" in again
    openings = store.test.all(RowSketch(manifest.protocol["test_fingerprint"]))
    assert [opening.job_id for opening in openings] == [first.id, third.id]
    store.close()
