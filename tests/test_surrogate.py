"""The model finds known effects from few noisy trials, and says how sure it is."""

import itertools
import math
from typing import Any, Literal

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

from search.attributes import MEMORY_MET
from search.model_based import FEWEST, MOST, ModelSampler
from search.surrogate import Surrogate, are_choices, encoded, likeliest_kernel

SPACE: dict[str, BaseDistribution] = {
    "block": CategoricalDistribution(("plain", "residual", "nin")),
    "depth": IntDistribution(1, 4),
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "nothing": CategoricalDistribution((False, True)),
}
SETTINGS = [
    {"block": block, "depth": depth, "rate": rate, "nothing": nothing}
    for block, depth, rate, nothing in itertools.product(
        ("plain", "residual", "nin"), range(1, 5), (0.003, 0.03, 0.3), (False, True)
    )
]


def score(setting: dict[str, Any]) -> float:
    away = math.log10(setting["rate"] / 0.03)
    return float(
        0.85 + 0.03 * (setting["block"] == "residual") + 0.005 * setting["depth"] - 0.02 * away**2
    )


def rows(settings: list[dict[str, Any]]) -> Any:
    return np.array([encoded(setting, SPACE) for setting in settings])


def fitted(settings: list[dict[str, Any]], scores: Any) -> Surrogate:
    known = {
        "choices": are_choices(SPACE),
        "scores": scores,
        "doubts": np.ones(len(settings)),
    }
    kernel = likeliest_kernel(rows(settings), **known)
    return Surrogate(rows(settings), **known, kernel=kernel)


def model_of(count: int, *, noise: float = 0.003) -> Surrogate:
    generator = np.random.default_rng(0)
    chosen = [SETTINGS[n] for n in generator.permutation(len(SETTINGS))[:count]]
    scores = np.array([score(each) for each in chosen]) + noise * generator.normal(size=count)
    return fitted(chosen, scores)


def test_settings_are_encoded_by_place_and_by_scale() -> None:
    middle = {"block": "nin", "depth": 4, "rate": 0.001 * math.sqrt(1000), "nothing": True}
    assert encoded(middle, SPACE) == pytest.approx([2.0, 1.0, 0.5, 1.0])
    assert are_choices(SPACE).tolist() == [True, False, False, True]


def test_what_was_not_tried_is_ranked_as_it_is() -> None:
    means, _ = model_of(20).predict(rows(SETTINGS))
    truth = np.array([score(each) for each in SETTINGS])
    assert np.corrcoef(means, truth)[0, 1] > 0.95
    assert truth[int(means.argmax())] > np.sort(truth)[-5]
    assert abs(means - truth).mean() < 0.005


def test_more_trials_make_it_surer_and_far_settings_less_sure() -> None:
    few, many = (model_of(count).predict(rows(SETTINGS))[1].mean() for count in (8, 40))
    assert many < few
    only = [each for each in SETTINGS if each["block"] == "plain" and each["depth"] == 1]
    model = fitted(only, np.array([score(each) for each in only]))
    deviations = model.predict(rows(SETTINGS))[1]
    known = np.array([each in only for each in SETTINGS])
    assert deviations[known].max() < deviations[~known].min()


def test_equal_scores_and_a_single_trial_are_no_error() -> None:
    for settings in (SETTINGS[:1], SETTINGS[:6]):
        model = fitted(settings, np.full(len(settings), 0.9))
        means, deviations = model.predict(rows(SETTINGS))
        assert means == pytest.approx(0.9) and np.isfinite(deviations).all()


def study_of(
    settings: list[dict[str, Any]], *, direction: Literal["maximize", "minimize"] = "maximize"
) -> Study:
    sign = 1.0 if direction == "maximize" else -1.0
    study = optuna.create_study(direction=direction, sampler=ModelSampler(seed=0))
    for setting in settings:
        study.add_trial(
            create_trial(params=setting, distributions=SPACE, value=sign * score(setting))
        )
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_search_finds_the_best_of_72_in_a_few_trials(
    direction: Literal["maximize", "minimize"],
) -> None:
    first = [each for each in SETTINGS if each["block"] == "plain" and each["depth"] == 1][:1]
    study = study_of(first, direction=direction)
    sign = 1.0 if direction == "maximize" else -1.0
    seen = set()
    for _ in range(14):
        trial = study.ask(SPACE)
        seen.add(tuple(map(str, trial.params.values())))
        study.tell(trial, sign * score(trial.params))
    assert len(seen) == 14  # nothing is tried twice
    best = max(map(score, SETTINGS))
    assert sign * study.best_value > best - 0.006


def test_discarded_trials_teach_it_by_their_first_validation() -> None:
    """Of the residual ones none has ended: they were discarded, far ahead of the others."""
    study = optuna.create_study(direction="maximize", sampler=ModelSampler(seed=1))
    for setting in [each for each in SETTINGS if each["depth"] == 2 and not each["nothing"]]:
        if setting["block"] == "nin":
            continue
        final = score(setting)
        discarded = setting["block"] == "residual"
        study.add_trial(
            create_trial(
                params=setting,
                distributions=SPACE,
                value=None if discarded else final,
                intermediate_values={2: final - 0.05},
                state=TrialState.PRUNED if discarded else TrialState.COMPLETE,
            )
        )
    drawn = [study.ask(SPACE).params["block"] for _ in range(8)]
    assert drawn.count("residual") >= 6


def test_what_does_not_fit_in_memory_is_hoped_for_less() -> None:
    def residual_ones(*, lacking: int) -> int:
        study = study_of([each for each in SETTINGS if each["block"] != "residual"][::3])
        residual = [each for each in SETTINGS if each["block"] == "residual"]
        for setting in residual[: 2 * lacking : 2]:
            trial = create_trial(params=setting, distributions=SPACE, state=TrialState.PRUNED)
            trial.set_constraint(MEMORY_MET, 1.0)
            study.add_trial(trial)
        return [study.ask(SPACE).params["block"] for _ in range(8)].count("residual")

    assert residual_ones(lacking=0) > residual_ones(lacking=6)


def test_a_long_history_is_cut_to_the_best_and_the_latest() -> None:
    sizes = []
    study = study_of([SETTINGS[n % len(SETTINGS)] for n in range(3 * MOST)])

    class Spy(Surrogate):
        def __init__(self, settings: Any, **more: Any) -> None:
            sizes.append(len(settings))
            super().__init__(settings, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("search.model_based.Surrogate", Spy)
        fresh = {**SPACE, "rate": FloatDistribution(1e-3, 1.0, log=True)}
        study.ask(fresh)
    assert sizes and MOST // 2 <= sizes[0] <= MOST
    assert FEWEST >= 1
