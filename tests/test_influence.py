"""Influences of a study whose effects are known are found, and said only where they can be."""

import dataclasses
import math
import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from search.attributes import CURVE
from search.effects import FEWEST_TRIALS, Model
from search.influence import influences, signals
from spaces.errors import InputError
from tests.records import record

SPACE = {
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "block": CategoricalDistribution(("plain", "residual", "nin")),
    "depth": IntDistribution(1, 4),
    "nothing": FloatDistribution(0.0, 1.0),
    "constant": CategoricalDistribution((3,)),
}
BLOCKS = {"plain": 0.0, "residual": 0.06, "nin": 0.03}


def score(parameters: dict[str, Any]) -> float:
    """Return 0.9 at best: a rate of 0.1 matters most, then the block, then the depth."""
    away = math.log10(parameters["rate"] / 0.1)
    block = BLOCKS[parameters["block"]]
    return float(0.84 - 0.1 * away**2 + block + 0.003 * parameters["depth"])


def study_of(trials: int, *, discarded_below: float = -9.0, noise: float = 0.005) -> Study:
    study, generator = optuna.create_study(direction="maximize"), random.Random(0)
    for _ in range(trials):
        parameters = {
            "rate": 10 ** generator.uniform(-3, 0),
            "block": generator.choice(("plain", "residual", "nin")),
            "depth": generator.randint(1, 4),
            "nothing": generator.random(),
            "constant": 3,
        }
        value = score(parameters) + generator.gauss(0.0, noise)
        good = value > discarded_below
        study.add_trial(
            create_trial(
                params=parameters,
                distributions=SPACE,
                intermediate_values={3: value - 0.2, 9: value},
                value=value if good else None,
                state=TrialState.COMPLETE if good else TrialState.PRUNED,
            )
        )
    return study


@pytest.mark.parametrize("discarded_below", [-9.0, 0.8])
def test_with_two_objectives_the_accuracy_is_explained(discarded_below: float) -> None:
    single = study_of(40, discarded_below=discarded_below)
    double = optuna.create_study(directions=["maximize", "minimize"])
    for trial in single.get_trials():
        curve = {str(epoch): value for epoch, value in trial.intermediate_values.items()}
        double.add_trial(
            create_trial(
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={CURVE: curve},
                values=None if trial.value is None else [trial.value, 1.0],
                state=trial.state,
            )
        )
    assert influences(double) == influences(single)


def test_known_effects_are_found_in_their_order() -> None:
    told = influences(study_of(150))
    found = told.parameters
    assert (told.target, told.trials) == ("final", 150)
    assert [each.name for each in found[:2]] == ["rate", "block"]
    assert {each.name for each in found} == {"rate", "block", "depth", "nothing"}
    by_name = {each.name: each for each in found}
    assert by_name["rate"].fanova > 0.6 > 0.05 > by_name["nothing"].fanova
    assert by_name["rate"].ped_anova > by_name["nothing"].ped_anova
    for shares in ([each.fanova for each in found], [each.ped_anova for each in found]):
        assert sum(shares) == pytest.approx(1.0)


def test_effects_say_what_to_expect_of_each_value() -> None:
    by_name = {each.name: each.effects for each in influences(study_of(150)).parameters}
    blocks = {effect.value: effect.score for effect in by_name["block"]}
    assert blocks["residual"] - blocks["plain"] == pytest.approx(0.06, abs=0.015)
    assert blocks["residual"] > blocks["nin"] > blocks["plain"]
    rates = by_name["rate"]
    assert [effect.value for effect in rates] == sorted(effect.value for effect in rates)
    best = max(rates, key=lambda effect: effect.score).value
    assert 0.02 < best < 0.3
    assert sum(effect.trials for effect in by_name["block"]) == 150
    assert sum(effect.trials for effect in rates) == 150


def test_where_trials_were_discarded_all_are_compared_at_their_first_validation() -> None:
    study = study_of(150, discarded_below=0.85)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert 10 < len(complete) < 75
    told = influences(study)
    assert (told.target, told.trials) == ("first validation", 150)
    whole = influences(study_of(150))
    assert [each.name for each in told.parameters] == [each.name for each in whole.parameters]
    scores = [effect.score for effect in told.parameters[0].effects]
    assert scores == pytest.approx([e.score - 0.2 for e in whole.parameters[0].effects], abs=0.005)


def test_two_parameters_are_shown_together() -> None:
    model = Model(study_of(150), seed=0)
    together = model.interaction("block", "depth")
    assert together.values == (("plain", "residual", "nin"), (1, 2, 3, 4))
    alone = [effect.score for effect in model.effects("block")]
    assert np.allclose(np.array(together.scores).mean(1), alone, atol=0.02)
    assert together.best[0] == "residual" and together.best[2] == max(map(max, together.scores))
    assert together.share < 0.02  # the effects add up


def test_what_two_parameters_do_together_alone_is_found() -> None:
    study, generator = optuna.create_study(direction="maximize"), random.Random(0)
    spaces: dict[str, BaseDistribution] = {
        name: CategoricalDistribution((0, 1, 2)) for name in "abc"
    }
    for _ in range(120):
        params = {name: generator.choice((0, 1, 2)) for name in "abc"}
        value = 0.8 + 0.1 * (params["a"] == params["b"]) + 0.02 * params["c"]
        study.add_trial(create_trial(params=params, distributions=spaces, value=value))
    first, *others = influences(study).interactions
    assert set(first.names) == {"a", "b"} and first.best[0] == first.best[1]
    assert first.share > 0.5 > 0.1 > max(each.share for each in others)


@pytest.mark.parametrize("complete", [0, FEWEST_TRIALS - 1])
def test_of_few_trials_nothing_is_said(complete: int) -> None:
    study = study_of(30)
    few = optuna.create_study(direction="maximize")
    for trial in study.trials[:complete]:
        few.add_trial(trial)
    with pytest.raises(
        InputError, match=f"at least {FEWEST_TRIALS} trials with a score, but there are {complete}"
    ):
        influences(few)


def test_of_equal_trials_nothing_is_said() -> None:
    study = optuna.create_study(direction="maximize")
    same: dict[str, BaseDistribution] = {"a": CategoricalDistribution((True, False))}
    for number in range(16):
        study.add_trial(create_trial(params={"a": True}, distributions=same, value=number / 16))
    with pytest.raises(InputError, match="need parameters that vary, but 16 trials are equal"):
        influences(study)


def test_signals_rank_as_the_scores_do_or_do_not() -> None:
    def trial(number: int, final: float, early: float, macs: int) -> Any:
        made = record(number, final)
        return dataclasses.replace(made, curve={1: early, 4: final}, macs=macs, parameters=7)

    records = [trial(n, 0.5 + n / 100, 0.3 + n / 200, 1000 - n) for n in range(8)]
    records.append(record(99, 0.1, state="pruned"))
    told = signals(records)
    assert told == {"parameters": None, "macs": pytest.approx(-1), "early score": pytest.approx(1)}
    assert signals([]) == {"parameters": None, "macs": None, "early score": None}
