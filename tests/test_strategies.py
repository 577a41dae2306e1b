"""What each strategy of ours proposes after which history."""

import itertools
import random
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from search.changes import LEVELS, changed, neighbours, values
from search.evolution import POPULATION, TOURNAMENT, EvolutionSampler
from search.exhaustive import ExhaustiveSampler
from search.neighbourhood import GreedySampler, LocalSearchSampler
from spaces.points import Parameter
from spaces.points import settings as settings_of
from tests.test_mutation import PRIOR, SPACE

SMALL = {
    "block": CategoricalDistribution(("a", "b", "c")),
    "depth": IntDistribution(1, 4),
    "rate": FloatDistribution(0.01, 1.0, log=True),
}
FIRST: dict[str, Any] = {"block": "a", "depth": 2, "rate": 0.1}


def study_of(sampler: BaseSampler, *trials: tuple[dict[str, Any], float | None]) -> Study:
    """Return a study whose trials have changed the first one and have ended with these scores."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for change, score in trials:
        state = TrialState.PRUNED if score is None else TrialState.COMPLETE
        trial = create_trial(params=FIRST | change, distributions=SMALL, value=score, state=state)
        study.add_trial(trial)
    return study


def drawn(study: Study) -> dict[str, Any]:
    return study.ask(SMALL).params


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


# --- changes of one parameter ----------------------------------------------------------------


@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(set(SPACE) - {"constant"})))
@settings(deadline=None)
def test_changes_stay_within_the_range_and_neighbours_are_others(seed: int, name: str) -> None:
    distribution, value = SPACE[name], PRIOR[name]
    found = [changed(value, distribution, random.Random(seed)), *values(distribution)]
    around = neighbours(value, distribution)
    for each in (*found, *around):
        assert distribution._contains(distribution.to_internal_repr(each))
    assert around and value not in around and len(set(around)) == len(around)


def test_neighbours_are_one_step_away() -> None:
    assert neighbours("a", SMALL["block"]) == ["b", "c"]
    assert [neighbours(depth, SMALL["depth"]) for depth in (1, 3, 4)] == [[2], [2, 4], [3]]
    assert neighbours(0.1, SMALL["rate"]) == pytest.approx([0.1 / 100**0.2, 0.1 * 100**0.2])
    assert neighbours(1.0, SMALL["rate"]) == pytest.approx([1.0 / 100**0.2])


def test_levels_are_even_in_the_ranges_scale() -> None:
    assert values(SMALL["rate"]) == pytest.approx([0.01, 0.0316228, 0.1, 0.316228, 1.0])
    assert values(FloatDistribution(0.0, 0.5)) == pytest.approx([0.0, 0.125, 0.25, 0.375, 0.5])
    assert values(FloatDistribution(2.0, 2.0)) == [2.0]
    assert values(SPACE["share"]) == [0.0, 0.25, 0.5, 0.75, 1.0]


# --- local search and coordinate descent -----------------------------------------------------


def test_local_search_tries_each_neighbour_of_the_best_once() -> None:
    study = study_of(LocalSearchSampler(seed=0), ({}, 0.9), ({"depth": 4}, 0.5))
    around = [drawn(study) for _ in range(6)]  # all of them run at once
    assert all(len(differing(each, FIRST)) == 1 for each in around)
    found = {(name, each[name]) for each in around for name in differing(each, FIRST)}
    rates = {value for name, value in found if name == "rate"}
    assert found - {("rate", rate) for rate in rates} == {
        ("block", "b"),
        ("block", "c"),
        ("depth", 1),
        ("depth", 3),
    }
    assert len(rates) == 2
    assert drawn(study) not in around


def test_local_search_goes_on_from_what_is_better() -> None:
    better = {"depth": 3, "block": "b"}
    study = study_of(LocalSearchSampler(seed=0), ({}, 0.5), (better, 0.9), ({"depth": 1}, None))
    assert len(differing(drawn(study), FIRST | better)) == 1


def test_coordinate_descent_tries_all_values_of_one_parameter_then_of_the_next() -> None:
    study = study_of(GreedySampler(seed=0), ({}, 0.5))
    tried: list[list[str]] = []
    for _ in range(2 + 3 + LEVELS - 1):
        trial = study.ask(SMALL)
        tried.append(differing(trial.params, FIRST))
        study.tell(trial, 0.1)
    names = [name for (name,) in tried]
    assert [name for name, _ in itertools.groupby(names)] == ["block", "depth", "rate"]
    assert sorted(names) == ["block"] * 2 + ["depth"] * 3 + ["rate"] * (LEVELS - 1)


BLOCK_WORTH = {"a": 0.0, "b": 0.3, "c": 0.1}
DEPTH_WORTH = {1: 0.0, 2: 0.1, 3: 0.2, 4: 0.0}


def worth(parameters: dict[str, Any]) -> float:
    """Return a score that is the sum of what each parameter gives."""
    rate = abs(parameters["rate"] - 0.316228)
    return float(BLOCK_WORTH[parameters["block"]] + DEPTH_WORTH[parameters["depth"]] - rate)


def test_coordinate_descent_keeps_what_helped_and_goes_through_the_others_again() -> None:
    study = study_of(GreedySampler(seed=0), ({}, worth(FIRST)))
    for _ in range(2 + 3 + LEVELS - 1):
        trial = study.ask(SMALL)
        study.tell(trial, worth(trial.params))
    assert study.best_params["block"] == "b" and study.best_params["depth"] == 3
    assert study.best_params["rate"] == pytest.approx(0.316228, rel=1e-4)


@pytest.mark.parametrize("sampler", [LocalSearchSampler, GreedySampler])
def test_where_nothing_has_ended_well_the_first_trial_is_changed(sampler: Any) -> None:
    study = study_of(sampler(seed=0), ({}, None), ({"depth": 4}, None))
    assert len(differing(drawn(study), FIRST)) == 1


# --- evolution -------------------------------------------------------------------------------


def test_evolution_changes_one_parameter_of_a_good_one_of_the_young() -> None:
    old = [({"depth": 1, "rate": 0.5}, 1.0)] * 5  # better than all, but dead
    young = [({"depth": 2 + n % 3, "rate": 0.02 + n / 1000}, n / 100) for n in range(POPULATION)]
    parents = set()
    for seed in range(40):
        each = drawn(study_of(EvolutionSampler(seed=seed), *old, *young))
        parent = next(
            (n for n, (young_one, _) in enumerate(young) if same_rate(each, young_one)), None
        )
        if parent is not None:
            assert len(differing(each, FIRST | young[parent][0])) == 1
            parents.add(parent)
    assert min(parents) >= TOURNAMENT - 1 and len(parents) > 5  # the best of so many


def same_rate(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["rate"] == other["rate"])


def test_evolution_begins_at_random() -> None:
    few: list[tuple[dict[str, Any], float]] = [({}, 0.5)] * (POPULATION - 1)
    draws = [drawn(study_of(EvolutionSampler(seed=seed), *few)) for seed in range(6)]
    assert max(len(differing(each, FIRST)) for each in draws) == 3
    assert len({str(each) for each in draws}) == 6


# --- all settings ----------------------------------------------------------------------------

PARAMETERS = {
    "block": Parameter(choices=("a", "b", "c")),
    "depth": Parameter(choices=(1, 2, 3, 4)),
    "rate": Parameter(low=0.01, high=1.0, log=True),
}


@pytest.mark.parametrize("queued", [0, 3])
def test_an_exhaustive_search_tries_every_setting(queued: int) -> None:
    study = optuna.create_study(sampler=ExhaustiveSampler())
    for _ in range(queued):
        study.enqueue_trial(FIRST)
    total = settings_of(PARAMETERS.values(), levels=LEVELS)
    assert total == 3 * 4 * LEVELS
    tried = [str(drawn(study)) for _ in range(queued + total)]
    assert len(set(tried[queued:])) == total


def test_what_is_decided_for_all_trials_is_no_part_of_the_settings() -> None:
    study = optuna.create_study(sampler=ExhaustiveSampler())
    total = settings_of([PARAMETERS["block"], PARAMETERS["depth"]], levels=LEVELS)
    assert total == 12
    tried = set()
    for _ in range(total):
        study.enqueue_trial({"rate": 0.3})
        tried.add(str(drawn(study)))
    assert len(tried) == total
