"""The steps of a search, taken in this very process: which trials there are, and when it ends."""

from pathlib import Path
from typing import Any

import pytest

from search.attributes import MEMORY_MET, RUNG
from search.epoch_budget import epochs_used
from search.how_to_train import HOW_TO_TRAIN
from search.job_spec import JobSpec
from search.store import Lease, StaleFence, StudyStore
from tests.small_job import SPEC, bench_of, prepared, resume, take_steps, worked
from workers.steps import Waiting, next_step
from workers.training import Diverged, Training
from workers.workbench import Workbench


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


@pytest.mark.parametrize("skip", [0.0, 0.75])
@pytest.mark.parametrize(
    ("options", "validated"),
    [
        ({}, [2, 8]),
        ({"discard_after": 3}, [3, 8]),
        ({"discard_after": 0}, [8]),
        ({"pruning": "none"}, [8]),
        ({"pruning": "median"}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"discard_after": 1, "validate_every": 3}, [1, 3, 6, 8]),
    ],
    ids=str,
)
def test_a_trial_is_validated_at_its_rung_at_its_end_and_where_it_is_asked_to(
    options: dict[str, int], validated: list[int], skip: float, tmp_path: Path
) -> None:
    """An epoch is as many images, whether in one pass over all rows or in some over a part."""
    space = {**SPEC["space"], "recipe": {"skips": [skip]}}
    store, job, worker = prepared(tmp_path, search_epochs=8, space=space, **options)
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
    (record,) = (each for each in store.trials(job).records() if each.state == "complete")
    assert list(record.curve) == validated
    store.close()


def test_a_search_uses_its_epochs_and_no_more(tmp_path: Path) -> None:
    store, job, worker = prepared(
        tmp_path, trials=None, max_epochs=13, search_epochs=3, discard_after=1, keep=1
    )
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    records = store.trials(job).records()
    epochs = {"complete": 3.25, "pruned": 1.25, "copied": 0.0}  # with the rung's branch
    used = sum(epochs[record.state] for record in records)
    assert 13 - 3.25 < used <= 13 and len(records) >= 4
    assert epochs_used(records, most=3, rung_of=lambda _: 1) == used
    store.close()


def test_a_search_of_one_trial_s_epochs_has_one_trial(tmp_path: Path) -> None:
    job, _ = worked(tmp_path, trials=None, max_epochs=2, search_epochs=2, discard_after=0)
    assert job.state == "done" and job.plan is not None
    assert job.result is not None and job.result["members"][0]["trial"] == 0


@pytest.mark.parametrize(
    ("options", "tried"),
    [
        ({"budget": "60s"}, set()),
        ({"budget": "60s", "search_recipe": True}, set(HOW_TO_TRAIN)),
        ({"budget": "60s", "space": {**SPEC["space"], "recipe": {"mixup": [0.0, 0.3]}}}, {"mixup"}),
        ({}, set(HOW_TO_TRAIN)),
    ],
    ids=["for a time", "all of it", "what is stated", "by trials"],
)
def test_in_a_search_for_a_time_the_first_trials_decide_how_to_train(
    options: dict[str, Any], tried: set[str], tmp_path: Path
) -> None:
    store, job, worker = prepared(tmp_path, trials=6, **options)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    trials = [trial.params for trial in store.trials(job).study.get_trials(deepcopy=False)]
    assert [trial["augmentation"] for trial in trials[:2]] == ["flip", "none"]
    changed = {name for name in trials[0] if len({trial[name] for trial in trials[2:]}) > 1}
    assert changed & set(HOW_TO_TRAIN) <= tried
    assert bool(changed & tried) is bool(tried)
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


def diverge(bench: Workbench, trial: Any, lease: Lease) -> None:
    bench.trials.tell(trial, "diverged")


def test_a_search_without_any_score_ends_some_time_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.preparation.search_seconds", lambda _: 0.1)
    monkeypatch.setattr("workers.steps.MAX_FRUITLESS", 2)
    monkeypatch.setattr("workers.steps.run_trial", diverge)
    job, _ = worked(tmp_path, trials=None, budget="60s")
    assert job.state == "failed" and "none finished an epoch" in str(job.error)


def test_a_search_without_any_score_ends_with_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.MAX_FRUITLESS", 1_000_000)
    monkeypatch.setattr("workers.steps.run_trial", diverge)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    spec = JobSpec.parse({**SPEC, "trials": None, "budget": "60s"})
    late = store.jobs.create(spec, seconds_used=59.5)
    job, _ = resume(tmp_path, late.id)
    assert job.state == "failed" and job.seconds_used < 75.0
    store.close()


def test_with_a_cost_the_front_is_searched_and_the_cheapest_near_the_best_lands(
    tmp_path: Path,
) -> None:
    more = {"minimize": "macs", "tolerance": 1000.0, "discard_after": 1, "keep": 1}
    space = {**SPEC["space"], "width": [2, 4, 8]}
    store, job, worker = prepared(tmp_path, trials=8, budget="60s", space=space, **more)
    assert job.plan is not None and not job.plan.races
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    board = store.trials(job).leaderboard()
    cheapest = min((each.macs, each.number) for each in board if each.finished and each.macs)
    assert {task.trial for task in store.folds.all(job.id)} == {cheapest[1]}
    assert all(len(trial.values) == 2 for trial in store.trials(job).study.best_trials)
    store.close()


@pytest.mark.parametrize(("most", "ending"), [(1e-9, "infeasible"), (60.0, "complete")])
def test_latency_is_measured_and_limited(most: float, ending: str, tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, max_latency=most, latency_batch=2)
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
    (record,) = (each for each in store.trials(job).records() if each.number == 0)
    assert record.state == ending and record.latency is not None and record.latency > 1e-6
    assert ("seconds for a batch of 2, limit 1e-09" in record.note) is (ending == "infeasible")
    store.close()


def test_a_network_whose_activations_are_too_many_is_infeasible(tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, max_activations=100)
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
    record = store.trials(job).records()[0]
    assert (record.state, record.latency) == ("infeasible", None)
    assert "bytes of activations, limit 100" in record.note
    store.close()


def test_a_trial_is_judged_with_the_error_of_its_score(tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, search_epochs=2, discard_after=1)
    with bench_of(store, job, worker) as bench:
        next_step(bench, "searching")
        rows = bench.plan.validation_rows
    (trial,) = (t for t in store.trials(job).study.trials if t.intermediate_values)
    score = trial.intermediate_values[1]
    rung = trial.user_attrs[RUNG]
    assert rung["epoch"] == 1
    assert rung["error"] == pytest.approx((score * (1 - score) / rows) ** 0.5, rel=0.01)
    store.close()


def test_what_is_trained_to_its_end_is_complete_whatever_the_pruner_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.store.trials.Trials.report", lambda *_, **__: True)
    job, _ = worked(tmp_path, trials=2)  # of an epoch each
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    assert [record.state for record in store.trials(job).records()] == ["complete"] * 2
    store.close()


def test_trials_that_run_out_of_memory_or_diverge_twice_end_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job lands with the others; a network that did not fit is a constraint for the sampler."""
    failures = iter([None, MemoryError("no room"), Diverged("NaN"), Diverged("NaN again")])
    run = Training.run

    def failing(training: Training, **options: Any) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        run(training, **options)

    monkeypatch.setattr("workers.trial.Training.run", failing)
    store, job, worker = prepared(tmp_path, trials=3)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    first, full, lost = store.trials(job).records()
    assert [each.state for each in (first, full, lost)] == ["complete", "out of memory", "diverged"]
    assert full.note == "no room" and "trained again with clipping" in lost.note
    (frozen,) = (t for t in store.trials(job).study.get_trials() if t.number == full.number)
    assert frozen.constraints[MEMORY_MET] == 1.0
    store.close()


def test_an_equal_candidate_is_not_trained_again(tmp_path: Path) -> None:
    store, job, worker = prepared(tmp_path, trials=2)
    store.trials(job).enqueue(dict(job.plan.first_trials[0]) if job.plan else {}, again=True)
    store.trials(job).enqueue(dict(job.plan.first_trials[0]) if job.plan else {}, again=True)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
    first, again = store.trials(job).records()[:2]
    assert (first.state, again.state) == ("complete", "copied")
    shown = ("score", "error", "right", "files", "train_pace")
    assert [getattr(first, name) for name in shown] == [getattr(again, name) for name in shown]
    assert f"trained as trial {first.number}" in again.note
    store.close()
