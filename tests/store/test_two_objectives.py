"""A study of accuracy and cost keeps curves and discards as one of accuracy alone does."""

import pytest

from search.job import Job
from search.sampling import STRATEGIES_WITH_A_COST, Strategy
from search.store import StudyStore, Trials
from spaces.limits import Complexity
from tests.store.harness import CANDIDATE, some_spec


@pytest.fixture
def job(store: StudyStore) -> Job:
    return store.jobs.create(some_spec(minimize="macs", discard_after=1, keep=1))


def begin(trials: Trials, *, macs: int, score: float) -> tuple[int, bool]:
    """Run a trial to its first validation; return its number and whether it should stop."""
    trial = trials.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trials.describe(trial, CANDIDATE, Complexity(parameters=1, macs=macs, activations=1))
    return trial.number, trials.report(trial, epoch=1, score=score, error=0.0)


def test_a_trial_goes_on_if_no_cheaper_one_was_better(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    stopped = [
        begin(trials, macs=macs, score=score)[1]
        for macs, score in ((100, 0.8), (100, 0.7), (50, 0.6), (60, 0.55), (200, 0.9), (300, 0.85))
    ]
    assert stopped == [False, True, False, True, False, True]


def test_curve_verdict_score_and_cost_are_kept(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    number, _ = begin(trials, macs=100, score=0.5)
    other = StudyStore(store.url)
    again = other.trials(job)
    trial = again.open(number)
    assert again.reported(trial)
    assert not again.report(trial, epoch=1, score=0.1, error=0.0)
    again.report(trial, epoch=2, score=0.75)
    again.tell(trial, "complete", score=0.75)
    assert again.study.best_trials[0].values == [0.75, 100.0]
    assert again.study.metric_names == ["accuracy", "macs"]
    other.close()
    (record,) = trials.records()
    assert (record.curve, record.score, record.macs) == ({1: 0.5, 2: 0.75}, 0.75, 100)


def test_what_a_former_holder_measured_is_found(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    assert trials.latency(trial) is None and not trials.reported(trial)
    cost = Complexity(parameters=1, macs=1, activations=1, latency=0.002)
    trials.describe(trial, CANDIDATE, cost)
    assert trials.latency(trial) == trials.records()[0].latency == 0.002


@pytest.mark.parametrize("strategy", STRATEGIES_WITH_A_COST)
def test_strategies_draw_with_two_objectives(store: StudyStore, strategy: Strategy) -> None:
    trials = store.trials(store.jobs.create(some_spec(minimize="macs", strategy=strategy)))
    drawn = set()
    for number in range(24):
        trial = trials.ask()
        x, kind = trial.suggest_float("x", 0.0, 1.0), trial.suggest_int("kind", 0, 3)
        drawn.add((x, kind))
        cost = Complexity(parameters=1, macs=10 + kind, activations=1)
        trials.describe(trial, CANDIDATE, cost)
        trials.tell(trial, "pruned" if number % 5 == 4 else "complete", score=x * (1 + kind))
    assert len(drawn) > 12
    front = trials.study.best_trials
    assert all(
        not (a.values[0] >= b.values[0] and a.values[1] < b.values[1]) for a in front for b in front
    )
