"""The steps of one job, taken in this very process: what one of them meets does not end the job."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.first_trials import HOW_TO_TRAIN
from search.folds import JUDGING_FOLD, Folds
from search.job import JobSpec
from search.store import FoldTask, Lease, StaleFence, StudyStore
from tests.small_job import CACHE, SPEC, bench_of, prepared, take_steps, worked
from workers.finalist import run_fold
from workers.heartbeat import Stopped
from workers.steps import MAX_ATTEMPTS, Waiting, next_step
from workers.training import EpochReport, Training
from workers.workbench import Workbench
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


def test_workers_ask_one_after_the_other_and_who_lost_the_lease_asks_for_nothing(
    tmp_path: Path,
) -> None:
    store, job, worker = prepared(tmp_path, trials=2)
    slow = store.leases.claim(f"{job.id}/trials", owner="slow")
    assert slow is not None
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
        assert store.trials(job).records() == []
        store.leases.release(slow)
        store.trials(job).ask()
        assert store.leases.claim(f"{job.id}/trial/0", owner="other") is not None
        next_step(bench, "searching")
        with pytest.raises(Waiting):
            next_step(bench, "searching")
    assert [record.state for record in store.trials(job).records()] == ["running", "complete"]
    with pytest.raises(StaleFence), store.fenced(slow):
        store.trials(job).ask()
    assert len(store.trials(job).records()) == 2
    store.close()


def test_a_trial_that_was_asked_for_and_never_begun_is_one_of_those_wanted(
    tmp_path: Path,
) -> None:
    """Whoever asked for it died before it could claim it."""
    store, job, worker = prepared(tmp_path, trials=2)
    store.trials(job).ask()
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    assert store.jobs.get(job.id).state == "landing"
    assert [record.finished for record in store.trials(job).records()] == [True, True]
    store.close()


def test_a_search_lands_when_its_time_is_over_although_it_may_have_more_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.preparation.search_seconds", lambda _: 0.5)
    store, job, worker = prepared(tmp_path, trials=1000, budget="60s")
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    assert store.jobs.get(job.id).state == "landing"
    assert 1 <= len(store.trials(job).records()) < 1000
    store.close()


def test_a_landing_without_any_time_left_still_trains_one_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an interruption that ended late: an overrun of a second, not the loss of it all."""
    monkeypatch.setattr("workers.preparation.search_seconds", lambda _: 0.5)
    monkeypatch.setattr("workers.landing.folds_deadline", lambda *_: 0.0)
    store, job, worker = prepared(tmp_path, trials=1, budget="60s")
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching", "landing")
    states = [task.state for task in store.folds.all(job.id)]
    assert states == ["done", "given up", "given up"]
    store.close()


@pytest.mark.parametrize(
    ("options", "validated"),
    [
        ({}, [2, 4, 8]),
        ({"discard_after": 3}, [3, 4, 8]),
        ({"discard_after": 0}, [4, 8]),
        ({"pruning": "none"}, [4, 8]),
        ({"pruning": "median"}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"discard_after": 1, "validate_every": 3}, [1, 3, 6, 8]),
    ],
    ids=str,
)
def test_a_trial_is_validated_at_its_rung_in_between_and_at_its_end(
    options: dict[str, int], validated: list[int], tmp_path: Path
) -> None:
    space = {**SPEC["space"], "recipe": {"skips": [0.0]}}
    store, job, worker = prepared(tmp_path, search_epochs=8, space=space, **options)
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
    (record,) = (each for each in store.trials(job).records() if each.state == "complete")
    assert list(record.curve) == validated
    store.close()


@pytest.mark.parametrize(
    ("options", "searched"),
    [
        ({"budget": "60s"}, False),
        ({"budget": "60s", "search_recipe": True}, True),
        ({}, True),
    ],
    ids=str,
)
def test_in_a_search_for_a_time_the_first_trials_decide_how_to_train(
    options: dict[str, Any], searched: bool, tmp_path: Path
) -> None:
    store, job, worker = prepared(tmp_path, trials=6, **options)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    trials = [trial.params for trial in store.trials(job).study.get_trials(deepcopy=False)]
    assert [trial["augmentation"] for trial in trials[:2]] == ["flip", "none"]
    changed = {name for name in trials[0] if len({trial[name] for trial in trials[2:]}) > 1}
    assert bool(changed & set(HOW_TO_TRAIN)) is searched
    assert changed - set(HOW_TO_TRAIN)
    store.close()


@pytest.mark.parametrize(("asked", "made"), [(None, 1), (3, 3)])
def test_a_search_for_a_time_ends_when_the_prior_stands(
    asked: int | None, made: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finalists.CHALLENGERS", 1)
    store, job, worker = prepared(tmp_path, trials=asked, budget="60s")
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    assert store.jobs.get(job.id).state == "landing"
    begun = [record for record in store.trials(job).records() if record.state != "waiting"]
    assert len(begun) == made
    store.close()


def test_earlier_trials_come_after_the_first_ones_as_far_as_they_fit(tmp_path: Path) -> None:
    earlier = [{"width": 8, "hidden": 64}, {"width": 9999}, {"kernel_1": 5, "optimizer": "adamw"}]
    space = {**SPEC["space"], "width": [4, 8], "kernels": [3, 5], "hidden": [0, 64]}
    store, job, worker = prepared(tmp_path, trials=5, budget="60s", space=space, warm_start=earlier)
    assert job.plan is not None
    assert job.plan.warm_trials == (earlier[0], earlier[2])
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    trials = [trial.params for trial in store.trials(job).study.get_trials(deepcopy=False)]
    assert (trials[2]["width"], trials[2]["hidden"]) == (8, 64)
    assert trials[3]["kernel_1"] == 5
    assert {trial["optimizer"] for trial in trials} == {trials[0]["optimizer"]}  # as decided
    store.close()


@pytest.mark.parametrize("asked", [None, 3])
def test_an_exhaustive_search_ends_with_the_last_setting(asked: int | None, tmp_path: Path) -> None:
    space = {
        "stages": [1, 1],
        "depth": [1, 2],
        "width": [4],
        "kernels": [1],
        "blocks": ["plain"],
        "stems": ["convolution"],
        "stem_strides": [2],
        "activations": ["relu", "silu"],
        "downsampling": ["max"],
        "poolings": ["mean"],
        "hidden": [0],
        "recipe": ONE_RECIPE,
    }
    more = {"space": space, "strategy": "exhaustive", "search_epochs": 1, "search_recipe": True}
    store, job, worker = prepared(tmp_path, trials=asked, budget="10m", **more)
    assert job.plan is not None and job.plan.most_trials == 1 + 4
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    records = store.trials(job).records()
    assert [record.state for record in records].count("copied") <= 1
    networks = {
        str(record.candidate.architecture.to_json()) for record in records if record.candidate
    }
    assert (len(records), len(networks)) == ((5, 4) if asked is None else (3, 2))
    store.close()


ONE_RECIPE = {
    "optimizers": ["sgd"],
    "sgd_learning_rate": [0.1, 0.1],
    "schedules": ["cosine"],
    "norm_bias_rates": [1.0],
    "averagings": ["none"],
    "weight_decay": [0.001, 0.001],
    "dropout": [0.0, 0.0],
    "label_smoothing": [0.1, 0.1],
    "mixup": [0.0],
    "augmentations": ["none"],
    "batch_sizes": [64],
}


def test_a_fold_that_was_trained_in_part_is_given_up_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.preparation.search_seconds", lambda _: 0.5)
    monkeypatch.setattr("workers.landing.folds_deadline", lambda *_: 0.0)
    store, job, worker = prepared(tmp_path, trials=1, budget="60s")
    begun = tmp_path / "artifacts" / job.id / "finalists" / "0-3" / "1"
    begun.mkdir(parents=True)
    (begun / "epoch-00001.json").write_text("torn")
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching", "landing")
    states = [task.state for task in store.folds.all(job.id)]
    assert states == ["given up", "given up", "done"]
    store.close()


def test_a_fold_that_somebody_trains_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path, trials=1, budget="60s")
    store.jobs.move(job.id, before="searching", after="landing")
    store.trials(job).ask().report(0.5, 1)
    store.folds.plan(job.id, trials=[0], folds=[1, 2])
    monkeypatch.setattr("workers.landing.folds_deadline", lambda *_: 0.0)
    held = store.leases.held

    def claimed_meanwhile(prefix: str) -> set[str]:
        before = held(prefix)
        store.leases.claim(f"{job.id}/fold/0/2", owner="other")
        return before

    monkeypatch.setattr(store.leases, "held", claimed_meanwhile)
    with bench_of(store, store.jobs.get(job.id), worker) as bench:
        next_step(bench, "landing")
    assert [task.state for task in store.folds.all(job.id)] == ["planned", "planned"]
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


def test_a_search_without_any_score_ends_some_time_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.preparation.search_seconds", lambda _: 0.1)
    monkeypatch.setattr("workers.steps.MAX_FRUITLESS", 2)
    monkeypatch.setattr("workers.steps.run_trial", diverge)
    job, _ = worked(tmp_path, trials=None, budget="60s")
    assert job.state == "failed" and "none finished an epoch" in str(job.error)


def diverge(bench: Workbench, trial: Any, lease: Lease) -> None:
    bench.trials.tell(trial, "diverged")


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


def test_a_prior_that_stands_need_not_race(
    race: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finalists.CHALLENGERS", 2)
    monkeypatch.setattr("search.finalists.standard_error", lambda *_, **__: 1.0)
    store, job, worker = prepared(tmp_path, **race)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    folds = store.folds.all(job.id)
    assert {(task.trial, task.fold) for task in folds} == {(0, 1), (0, 2), (0, 3)}
    store.close()


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
