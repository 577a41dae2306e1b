"""The steps of a landing, taken in this very process: what one fold meets does not end the job."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.folds import ALL_ROWS, JUDGING_FOLD, Folds
from search.race import Race
from search.store import FoldTask, StudyStore
from search.store.results import FoldState
from spaces.recipe import Candidate
from tests.small_job import SPEC, bench_of, failing, prepared, take_steps, worked
from workers.contenders import contenders
from workers.epoch_report import EpochReport
from workers.finalist import run_fold
from workers.gentler import CLIP_NORM
from workers.heartbeat import Stopped
from workers.steps import MAX_ATTEMPTS, _unjudged, next_step
from workers.training import Diverged, Training


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


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a landing begin when its budget is over, as after an interruption that ended late."""
    monkeypatch.setattr("workers.preparation.search_seconds", lambda _: 0.5)
    monkeypatch.setattr("workers.landing_time.folds_deadline", lambda *_: 0.0)


def landed_late(folder: Path, *, begun: int | None = None, **more: Any) -> dict[int, str]:
    """Land without any time, a fold having been trained in part; return what became of each."""
    store, job, worker = prepared(folder, trials=1, budget="60s", **more)
    if begun is not None:
        part = folder / "artifacts" / job.id / "finalists" / f"0-{begun}" / "1"
        part.mkdir(parents=True)
        (part / "epoch-00001.json").write_text("torn")
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching", "landing")
    states: dict[int, str] = {t.fold: t.state for t in store.folds.all(job.id)}
    store.close()
    return states


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize(
    ("begun", "more", "trained"),
    [(None, {}, 1), (3, {}, 3), (None, {"final": "refit"}, 1)],
    ids=["the first fold", "one that was begun", "a fold rather than a refit"],
)
def test_a_landing_without_any_time_left_still_trains_one_fold(
    begun: int | None, more: dict[str, Any], trained: int, tmp_path: Path
) -> None:
    """An overrun of a second, not the loss of it all."""
    states = landed_late(tmp_path, begun=begun, **more)
    assert [fold for fold, state in states.items() if state == "done"] == [trained]
    assert set(states.values()) == {"done", "given up"}
    assert (ALL_ROWS in states) is ("final" in more)


@pytest.mark.usefixtures("no_time")
def test_without_any_time_the_last_fold_is_given_up_after_as_many_deaths_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path, trials=1, budget="60s", folds=1)

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("workers.steps.run_fold", dies)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(RuntimeError, match="killed"):
                next_step(bench, "landing")
        next_step(bench, "landing")
    (task,) = store.folds.all(job.id)
    assert task.state == "given up" and task.report is not None
    assert "killed" in task.report["reason"]
    store.close()


@pytest.mark.parametrize(
    ("states", "useless"),
    [
        ({(1, 1): "done", (2, 1): "given up"}, [2]),
        ({(1, 1): "done", (2, 1): "planned"}, []),
        ({(1, 1): "given up", (2, 1): "given up"}, []),  # it may be all that there is
    ],
)
def test_a_refit_that_nothing_can_judge_takes_no_time_from_others(
    states: dict[tuple[int, int], FoldState], useless: list[int]
) -> None:
    refits: dict[tuple[int, int], FoldState]
    refits = {(1, ALL_ROWS): "planned", (2, ALL_ROWS): "planned"}
    tasks = [
        FoldTask("job", trial, fold, 0, state, None, None, None)
        for (trial, fold), state in {**states, **refits}.items()
    ]
    assert [task.trial for task in _unjudged(tasks)] == useless


def test_a_fold_that_somebody_trains_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, worker = prepared(tmp_path, trials=1, budget="60s")
    store.jobs.move(job.id, before="searching", after="landing")
    store.trials(job).ask().report(0.5, 1)
    store.folds.plan(job.id, trials=[0], folds=[1, 2])
    monkeypatch.setattr("workers.landing_time.folds_deadline", lambda *_: 0.0)
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


@pytest.fixture
def race(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let two trials of short trainings race; return what the job needs."""
    monkeypatch.setattr("search.plan.RACE_FROM", 1.0)
    monkeypatch.setattr("workers.finalist.MAX_EPOCHS", 3)
    monkeypatch.setattr("workers.finalist.MAX_IMAGES", 0)
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
    assert one == pytest.approx(other, rel=0.2) and 0.0 < one < 0.06 * 60.0
    winner = Race(folds, survivors=1).ranked(heats)[0].trial
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
    monkeypatch.setattr("search.finalists.error_of", lambda *_, **__: 1.0)
    store, job, worker = prepared(tmp_path, **race)
    with bench_of(store, job, worker) as bench:
        take_steps(bench, "searching")
        _, prior = contenders(bench)  # with mirrored images or without
    folds = store.folds.all(job.id)
    assert {(task.trial, task.fold) for task in folds} == {(prior, 1), (prior, 2), (prior, 3)}
    store.close()


@pytest.mark.parametrize("ends", ["well", "badly again", "when little time is left"])
def test_a_fold_that_diverges_is_trained_once_more_and_gently(
    ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: weakref.ref[Training] | None = None

    class Wild(Training):
        def __init__(self, candidate: Candidate, *rest: Any, **options: Any) -> None:
            nonlocal first
            if candidate.recipe.clip_norm is None:
                first = weakref.ref(self)
            else:  # what the first attempt held is free again
                gc.collect()
                assert first is not None and first() is None
            super().__init__(candidate, *rest, **options)

        def run(self, **options: Any) -> None:
            if ends == "badly again" or self.candidate.recipe.clip_norm is None:
                raise Diverged("the loss is nan")
            super().run(**options)

    monkeypatch.setattr("workers.finalist.Training", Wild)
    more: dict[str, Any] = {}
    if ends == "when little time is left":
        monkeypatch.setattr("workers.finalist.LEAST_LEFT", 2.0)
        more["budget"] = "60s"
    job, folds = worked(tmp_path, **more)
    if ends != "well":
        assert job.state == "failed" and "finish at least one fold" in (job.error or "")
        assert {task.state for task in folds} == {"given up"}
        return
    assert job.state == "done" and job.result is not None and job.result["networks"] == 3
    found = tmp_path.glob("**/finalists/**/meta.json")
    recipes = [json.loads(path.read_text())["candidate"]["recipe"] for path in found]
    assert [each["clip_norm"] for each in recipes] == [CLIP_NORM] * 3


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


def test_who_lost_the_race_is_trained_where_the_winner_cannot_be(
    race: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winners: list[int] = []

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if task.fold != JUDGING_FOLD:
            winners.append(task.trial)
            if task.trial == winners[0]:
                raise MemoryError("out of memory")
        run_fold(bench, task, *more, **options)

    monkeypatch.setattr("workers.steps.run_fold", run)
    job, folds = worked(tmp_path, **race)
    assert job.state == "done", job.error
    assert job.result is not None and job.result["networks"] == 3
    (heat,) = (t.trial for t in folds if t.fold == JUDGING_FOLD and t.trial != winners[0])
    assert {task.trial for task in folds if task.done and task.fold != JUDGING_FOLD} == {heat}


def test_a_heat_that_goes_on_has_only_the_rest_of_its_time(
    race: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[tuple[int, float]] = []

    class Interrupted(Training):
        def run(self, *, on_epoch: Any, interrupt: Any, seconds_left: Any = None) -> None:
            starts.append((self.epoch, seconds_left()))

            def stop(training: Training, report: EpochReport) -> None:
                spent = starts[0][1] / 4  # seconds that each epoch is said to have taken
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
    assert rest < 0.75 * whole  # half of it is spent


def test_where_a_cost_counts_networks_of_all_costs_race_and_the_cheapest_near_the_best_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.plan.COST_RACE_FROM", 1.0)
    monkeypatch.setattr("workers.finalist.MAX_EPOCHS", 2)
    monkeypatch.setattr("workers.finalist.MAX_IMAGES", 0)
    space = {**SPEC["space"], "width": [2, 8], "blocks": ["plain"], "kernels": [3]}
    more = {"minimize": "parameters", "tolerance": 1000.0, "discard_after": 0, "budget": "60s"}
    job, folds = worked(tmp_path, trials=8, space=space, **more)
    assert job.state == "done", job.error
    assert job.plan is not None and job.plan.races and job.plan.race_share == 0.4
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    costs = {record.number: record.parameters for record in store.trials(job).records()}
    store.close()
    raced = {task.trial for task in folds if task.fold == JUDGING_FOLD}
    assert len({costs[trial] for trial in raced}) == len(raced) > 1
    trained = {task.trial for task in folds if task.fold != JUDGING_FOLD and task.done}
    assert trained == {min(raced, key=lambda trial: costs[trial] or 0)}


def without_the_first(count: int) -> Any:
    """Return a `run_fold` that runs out of memory for the first so many trials that it meets."""
    met: list[int] = []

    def run(bench: Any, task: FoldTask, *more: Any, **options: Any) -> None:
        if task.trial not in met:
            met.append(task.trial)
        if task.trial in met[:count]:
            raise MemoryError("out of memory")
        run_fold(bench, task, *more, **options)

    return run


def test_where_no_finalist_can_be_trained_the_next_trial_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.run_fold", without_the_first(2))
    job, folds = worked(tmp_path, trials=4, finalists=1)
    assert job.state == "done", job.error
    assert job.result is not None
    (member,) = job.result["members"]
    places = {task.trial: task.place for task in folds}
    assert sorted(places.values()) == [0, 1, 2] and places[member["trial"]] == 2
    assert all(task.done is (task.trial == member["trial"]) for task in folds)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    board = [record.number for record in store.trials(job).leaderboard()]
    store.close()
    others = [number for number in board if number != min(places, key=lambda trial: places[trial])]
    assert [trial for trial in places if places[trial]] == others[:2]  # the best that are left


def test_there_are_only_so_many_substitutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.steps.run_fold", without_the_first(9))
    monkeypatch.setattr("workers.landing.MOST_SUBSTITUTES", 1)
    job, folds = worked(tmp_path, trials=4, finalists=1)
    assert job.state == "failed"
    assert job.error is not None and "at least one fold" in job.error
    assert len({task.trial for task in folds}) == 2


def test_an_interrupted_fold_takes_no_more_than_what_was_left_of_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[Training] = []

    class Interrupted(Training):
        def run(self, *, on_epoch: Any, interrupt: Any, seconds_left: Any = None) -> None:
            trainings.append(self)

            def stop(training: Training, report: EpochReport) -> None:
                schedule = training.schedule
                if len(trainings) == 1:  # as if it had little time when its worker dies
                    schedule.total_steps = schedule.step + 20
                on_epoch(training, report)
                if len(trainings) == 1:
                    raise Stopped("interrupted")

            super().run(on_epoch=stop, interrupt=interrupt, seconds_left=lambda: 1e6)

    monkeypatch.setattr("workers.finalist.Training", Interrupted)
    job, folds = worked(tmp_path, budget="60s")
    assert job.state == "done" and len(folds) == 3, job.error
    first, resumed, other = trainings[:3]
    assert resumed.schedule.step == first.schedule.step + 20
    assert other.schedule.step > resumed.schedule.step  # which had all of its time
