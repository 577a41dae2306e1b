"""The next trial is one of the best so far with a few parameters changed, as the space allows."""

import math
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from search.model_based import ModelSampler
from search.mutation import CHANGES, PARENTS, MutationSampler

SPACE: dict[str, BaseDistribution] = {
    "block": CategoricalDistribution(("plain", "residual")),
    "constant": CategoricalDistribution((1,)),
    "depth": IntDistribution(1, 3),
    "dropout": FloatDistribution(0.0, 0.5),
    "even": IntDistribution(2, 8, step=2),
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "share": FloatDistribution(0.0, 1.0, step=0.25),
    "width": CategoricalDistribution((8, 16, 24)),
}
PRIOR: dict[str, Any] = {
    "block": "plain",
    "constant": 1,
    "depth": 2,
    "dropout": 0.0,
    "even": 4,
    "rate": 0.1,
    "share": 0.25,
    "width": 16,
}


def study_of(*scores: float | None, seed: int = 0) -> Study:
    """Return a study whose trials have ended with these scores, discarded where there is none.

    Trial n is the prior with rate 0.1 + n / 1000.
    """
    study = optuna.create_study(direction="maximize", sampler=MutationSampler(seed=seed))
    for number, score in enumerate(scores):
        study.add_trial(
            create_trial(
                params={**PRIOR, "rate": 0.1 + number / 1000},
                distributions=SPACE,
                value=score,
                state=TrialState.PRUNED if score is None else TrialState.COMPLETE,
            )
        )
    return study


def drawn(study: Study) -> dict[str, Any]:
    return study.ask(SPACE).params


def changed(parameters: dict[str, Any], parent: dict[str, Any]) -> set[str]:
    return {name for name, value in parameters.items() if value != parent[name]}


@given(seed=st.integers(0, 10_000))
@settings(deadline=None)
def test_a_draw_is_a_parent_with_a_few_changes_within_the_space(seed: int) -> None:
    parameters = drawn(study_of(0.9, seed=seed))
    assert parameters.keys() == SPACE.keys()
    # a step that is clipped or rounded may lead back to where it began
    assert len(changed(parameters, PRIOR)) <= max(CHANGES)
    for name, distribution in SPACE.items():
        assert distribution._contains(distribution.to_internal_repr(parameters[name]))


def test_every_parameter_changes_now_and_then_but_for_constants() -> None:
    seen: set[str] = set()
    for seed in range(60):
        seen |= changed(drawn(study_of(0.9, seed=seed)), PRIOR)
    assert seen == SPACE.keys() - {"constant"}


def test_numbers_move_by_steps_of_their_scale() -> None:
    rates = [drawn(study_of(0.9, seed=seed))["rate"] for seed in range(400)]
    steps = [abs(math.log10(rate / 0.1)) for rate in rates if rate != 0.1]
    assert 0.3 < sum(steps) / len(steps) < 0.7  # 0.48 is expected, but for what is clipped


def test_with_two_objectives_any_trial_of_the_front_is_changed() -> None:
    scores_and_costs = [(0.9, 9.0), (0.8, 5.0), (0.7, 3.0), (0.6, 2.0), (0.5, 1.0), (0.75, 8.0)]
    found = set()
    for seed in range(160):
        study = optuna.create_study(
            directions=["maximize", "minimize"], sampler=MutationSampler(seed=seed)
        )
        for number, values in enumerate(scores_and_costs):
            params = {**PRIOR, "rate": 0.1 + number / 1000}
            study.add_trial(create_trial(params=params, distributions=SPACE, values=values))
        found.add(round((drawn(study)["rate"] - 0.1) * 1000, 6))
    assert found & set(range(6)) == {0, 1, 2, 3, 4}


def parents_of(*scores: float | None) -> set[int]:
    """Return the trials from which draws descend, told apart by their rates."""
    found = set()
    for seed in range(120):
        rate = drawn(study_of(*scores, seed=seed))["rate"]
        number = round((rate - 0.1) * 1000, 6)
        if number in range(len(scores)):
            found.add(int(number))
    return found


def test_the_best_are_the_parents() -> None:
    assert parents_of(0.1, 0.9, 0.8, None, 0.7, 0.6, 0.5) == {1, 2, 4, 5}
    assert len({1, 2, 4, 5}) == PARENTS


def test_as_long_as_no_trial_has_ended_well_the_first_one_is_the_parent() -> None:
    assert parents_of(None, None) == {0}
    study = optuna.create_study(direction="maximize", sampler=MutationSampler(seed=1))
    study.enqueue_trial(PRIOR)
    assert drawn(study) == PRIOR  # it is running
    assert 1 <= len(changed(drawn(study), PRIOR)) <= max(CHANGES)


@pytest.mark.parametrize("sampler", [MutationSampler, ModelSampler])
def test_a_search_that_begins_beyond_its_limits_comes_within_them(
    sampler: type[MutationSampler | ModelSampler],
) -> None:
    """What is within them is many steps from the first trial, and nothing has a score before."""
    space: dict[str, BaseDistribution] = {
        name: IntDistribution(1, 8) for name in ("depth", "stages", "width")
    }
    study = optuna.create_study(direction="maximize", sampler=sampler(seed=0))
    study.enqueue_trial(dict.fromkeys(space, 8))
    for _ in range(60):
        trial = study.ask(space)
        excess = math.prod(trial.params.values()) / 6 - 1.0
        trial.set_constraint("macs", excess)
        if excess <= 0.0:
            break
        study.tell(trial, state=TrialState.FAIL)
    assert excess <= 0.0


@pytest.mark.parametrize("sampler", [MutationSampler, ModelSampler])
def test_of_trials_beyond_the_limits_the_closest_is_changed(
    sampler: type[MutationSampler | ModelSampler],
) -> None:
    found = set()
    for seed in range(60):
        study = optuna.create_study(direction="maximize", sampler=sampler(seed=seed))
        for number, excess in enumerate((3.0, 0.5, 0.5, None, 2.0)):
            study.add_trial(
                create_trial(
                    params={**PRIOR, "rate": 0.1 + number / 1000},
                    distributions=SPACE,
                    state=TrialState.FAIL,
                    constraints=None if excess is None else {"macs": -0.2, "parameters": excess},
                )
            )
        found.add(round((drawn(study)["rate"] - 0.1) * 1000, 6))
    assert found & set(range(5)) == {1}


def test_the_first_trial_is_random() -> None:
    empty = [optuna.create_study(sampler=MutationSampler(seed=seed)) for seed in (0, 1)]
    assert drawn(empty[0]) != drawn(empty[1])


def test_the_direction_of_the_study_counts() -> None:
    study = optuna.create_study(direction="minimize", sampler=MutationSampler(seed=0))
    for number in range(6):
        trial = create_trial(
            params={**PRIOR, "depth": 1 if number < 4 else 3},
            distributions=SPACE,
            value=float(number),
        )
        study.add_trial(trial)
    parents = MutationSampler(seed=0).infer_relative_search_space(study, study.trials[0])
    assert parents.keys() == SPACE.keys() - {"constant"}
    depths = [study.ask(SPACE).params["depth"] for _ in range(20)]
    assert depths.count(1) > 10


def test_what_was_queued_is_not_changed() -> None:
    for seed in range(20):
        study = study_of(0.9, seed=seed)
        study.enqueue_trial({"depth": 3, "width": 24})
        parameters = drawn(study)
        assert (parameters["depth"], parameters["width"]) == (3, 24)
        assert 1 <= len(changed(parameters, {**PRIOR, "depth": 3, "width": 24})) <= max(CHANGES)


def test_what_was_tried_is_not_proposed_again() -> None:
    few = {"block": SPACE["block"], "width": SPACE["width"]}
    study = optuna.create_study(direction="maximize", sampler=MutationSampler(seed=0))
    for number in range(6):
        trial = study.ask(few)
        study.tell(trial, float(number))
    assert len({str(trial.params) for trial in study.trials}) == 6  # all there are
    assert study.ask(few).params.keys() == few.keys()


def test_equal_trials_are_one_parent() -> None:
    study = study_of(0.9, *[0.5] * 3)
    for _ in range(2 * PARENTS):  # copies of the best
        study.add_trial(study.trials[0])
    rates = set()
    for seed in range(120):
        study.sampler = MutationSampler(seed=seed)
        trial = study.ask(SPACE)
        rates.add(round((trial.params["rate"] - 0.1) * 1000, 6))
        study.tell(trial, state=TrialState.PRUNED)
    assert {0.0, 1.0, 2.0, 3.0} <= rates
