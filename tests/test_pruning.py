"""Early discard: the best trials after the first epochs go on."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.attributes import COSTS, CURVE, RUNG_ERROR
from search.pruning import EarlyDiscardPruner


def judged(
    others: list[float], value: float, *, keep: int, state: TrialState = TrialState.COMPLETE
) -> bool:
    """Say whether a trial that reports `value` after epoch 2 is pruned, after all others."""
    study = optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(after=2, keep=keep))
    for other in others:
        if state == TrialState.RUNNING:
            study.ask().report(other, step=2)
        else:
            study.add_trial(
                create_trial(state=state, value=other, intermediate_values={1: 1.0, 2: other})
            )
    trial = study.ask()
    trial.report(0.0, step=1)
    trial.report(value, step=2)
    return trial.should_prune()


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
    ("error", "behind", "pruned"),
    [(0.01, 0.029, False), (0.01, 0.031, True), (0.0, 0.001, True), (None, 0.001, True)],
)
def test_who_is_behind_by_less_than_three_errors_goes_on(
    error: float | None, behind: float, pruned: bool
) -> None:
    study = optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(after=1, keep=2))
    for value in (0.9, 0.7, 0.9 - behind / 2):
        study.ask().report(value, step=1)
    trial = study.ask()
    if error is not None:
        trial.set_user_attr(RUNG_ERROR, error)
    trial.report(0.9 - behind, step=1)
    assert trial.should_prune() is pruned


def test_ties_go_to_the_earlier_trial_whoever_comes_last() -> None:
    study = optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(after=1, keep=1))
    early, late = study.ask(), study.ask()
    late.report(0.5, step=1)
    assert not late.should_prune()
    early.report(0.5, step=1)
    assert not early.should_prune()
    assert late.should_prune()


def test_trials_are_judged_after_one_epoch_alone() -> None:
    study = optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(after=2, keep=1))
    best = study.ask()
    for step in range(1, 6):
        best.report(0.9, step=step)
    trial = study.ask()
    assert not trial.should_prune()
    pruned = []
    for step in range(1, 6):
        trial.report(0.1, step=step)
        pruned.append(trial.should_prune())
    assert pruned == [False, True, False, False, False]


@pytest.mark.parametrize(
    ("cost", "pruned"), [(5, False), (10, True), (20, True), (None, False)], ids=str
)
def test_where_a_cost_is_to_be_small_only_cheaper_trials_count(
    cost: int | None, pruned: bool
) -> None:
    pruner = EarlyDiscardPruner(after=1, keep=1, cost="macs")
    study = optuna.create_study(directions=["maximize", "minimize"], pruner=pruner)
    attributes = {COSTS: {"macs": 10}, CURVE: {"1": 0.9}}
    study.add_trial(create_trial(values=[0.9, 10], user_attrs=attributes))
    trial = study.ask()
    trial.set_user_attr(CURVE, {"1": 0.8})
    if cost is not None:
        trial.set_user_attr(COSTS, {"macs": cost})
    assert pruner.prune(study, study.get_trials()[1]) is pruned


def test_trials_that_have_not_come_so_far_do_not_count() -> None:
    study = optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(after=2, keep=1))
    study.ask().report(0.9, step=1)
    study.ask()
    trial = study.ask()
    trial.report(0.1, step=2)
    assert not trial.should_prune()


def test_discarding_after_no_epoch_discards_nothing() -> None:
    study = optuna.create_study(direction="maximize", pruner=EarlyDiscardPruner(after=0, keep=1))
    for value in (0.9, 0.1):
        trial = study.ask()
        for step in (1, 2):
            trial.report(value, step=step)
            assert not trial.should_prune()
