"""Early discard: the best trials after the first epochs go on."""

import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial, TrialState, create_trial

from search.attributes import COSTS, CURVE, RUNG
from search.pruning import EarlyDiscardPruner

AT_TWO = {RUNG: {"epoch": 2, "error": 0.0}}


def study_of(*, keep: int) -> Study:
    return optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(keep=keep))


def at_rung(trial: Trial, score: float, *, epoch: int = 1, error: float = 0.0) -> bool:
    """Report the score at a trial's rung; return whether it is pruned there."""
    trial.set_user_attr(RUNG, {"epoch": epoch, "error": error})
    trial.report(score, step=epoch)
    return trial.should_prune()


def judged(
    others: list[float], value: float, *, keep: int, state: TrialState = TrialState.COMPLETE
) -> bool:
    """Say whether a trial that reports `value` after epoch 2 is pruned, after all others."""
    study = study_of(keep=keep)
    for other in others:
        if state == TrialState.RUNNING:
            at_rung(study.ask(), other, epoch=2)
        else:
            curve = {1: 1.0, 2: other}
            study.add_trial(
                create_trial(state=state, value=other, intermediate_values=curve, user_attrs=AT_TWO)
            )
    trial = study.ask()
    trial.report(0.0, step=1)
    return at_rung(trial, value, epoch=2)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING])
@pytest.mark.parametrize(
    ("others", "value", "keep", "pruned"),
    [
        ([], 0.1, 1, False),
        ([0.5], 0.6, 1, False),
        ([0.5], 0.4, 1, True),
        ([0.5], 0.4, 2, False),
        ([0.9, 0.1, 0.8, 0.2], 0.5, 3, False),
        ([0.9, 0.1, 0.8, 0.7], 0.5, 3, True),
        ([0.5], 0.5, 1, True),
        ([0.5, 0.5, 0.5], 0.5, 3, True),
        ([0.5, 0.5], 0.5, 3, False),
    ],
)
def test_only_the_best_so_far_go_on(
    others: list[float], value: float, keep: int, pruned: bool, state: TrialState
) -> None:
    assert judged(others, value, keep=keep, state=state) is pruned


@pytest.mark.parametrize(
    ("error", "behind", "pruned"), [(0.01, 0.029, False), (0.01, 0.031, True), (0.0, 0.001, True)]
)
def test_who_is_behind_by_less_than_three_errors_goes_on(
    error: float, behind: float, pruned: bool
) -> None:
    study = study_of(keep=2)
    for value in (0.9, 0.7, 0.9 - behind / 2):
        at_rung(study.ask(), value)
    assert at_rung(study.ask(), 0.9 - behind, error=error) is pruned


def test_ties_go_to_the_earlier_trial_whoever_comes_last() -> None:
    study = study_of(keep=1)
    early, late = study.ask(), study.ask()
    assert not at_rung(late, 0.5)
    assert not at_rung(early, 0.5)
    assert late.should_prune()


def test_trials_are_judged_after_one_epoch_alone() -> None:
    study = study_of(keep=1)
    at_rung(study.ask(), 0.9, epoch=2)
    trial = study.ask()
    trial.report(0.1, step=1)
    assert not trial.should_prune()
    assert at_rung(trial, 0.1, epoch=2)
    trial.report(0.1, step=3)
    assert not trial.should_prune()


def test_each_trial_is_judged_at_its_own_rung_by_what_others_had_at_theirs() -> None:
    """Of a fast network that is a later epoch than of a slow one: the same time."""
    study = study_of(keep=1)
    slow = study.ask()
    assert not at_rung(slow, 0.7, epoch=2)
    slow.report(0.95, step=4)
    fast = study.ask()
    fast.report(0.5, step=2)
    assert not fast.should_prune()
    assert not at_rung(fast, 0.8, epoch=4)
    assert at_rung(study.ask(), 0.75, epoch=2)


@pytest.mark.parametrize(
    ("cost", "pruned"), [(5, False), (10, True), (20, True), (None, False)], ids=str
)
def test_where_a_cost_is_to_be_small_only_cheaper_trials_count(
    cost: int | None, pruned: bool
) -> None:
    pruner = EarlyDiscardPruner(keep=1, cost="macs")
    study = optuna.create_study(directions=["maximize", "minimize"], pruner=pruner)
    rung = {RUNG: {"epoch": 1, "error": 0.0}}
    attributes = {COSTS: {"macs": 10}, CURVE: {"1": 0.9}, **rung}
    study.add_trial(create_trial(values=[0.9, 10], user_attrs=attributes))
    trial = study.ask()
    for name, value in {**rung, CURVE: {"1": 0.8}}.items():
        trial.set_user_attr(name, value)
    if cost is not None:
        trial.set_user_attr(COSTS, {"macs": cost})
    assert pruner.prune(study, study.get_trials()[1]) is pruned


def test_trials_that_have_not_come_so_far_do_not_count() -> None:
    study = study_of(keep=1)
    study.ask().report(0.9, step=1)
    study.ask()
    assert not at_rung(study.ask(), 0.1, epoch=2)


def test_without_a_rung_nothing_is_discarded() -> None:
    study = study_of(keep=1)
    for value in (0.9, 0.1):
        trial = study.ask()
        for step in (1, 2):
            trial.report(value, step=step)
            assert not trial.should_prune()
