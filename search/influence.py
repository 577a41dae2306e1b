"""Which hyperparameters mattered in a study, how, and what told early how a trial would end."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.attributes import curve_of
from search.effects import Effect, Interaction, Model, Scale
from search.store.records import TrialRecord
from spaces.errors import InputError

LEADING = 6  # parameters of which two are looked at together
MOST_PAIRS = 5  # of these that are told


@dataclass(frozen=True, slots=True)
class Influence:
    """How much a hyperparameter mattered.

    Attributes:
        fanova: share of the score's variance that it explains by itself, over the whole space
            (functional ANOVA, Hutter et al., ICML 2014); shares of all sum to 1.
        ped_anova: how unlike the others the best tenth of the trials chose it (arXiv 2304.10255);
            shares of all sum to 1.
        effects: its values, in order, with what is to be expected of each.
        scale: on which its values lie.
    """

    name: str
    fanova: float
    ped_anova: float
    effects: tuple[Effect, ...]
    scale: Scale


@dataclass(frozen=True, slots=True)
class Influences:
    """What mattered in a study.

    Attributes:
        parameters: that varied, the one that explains most first.
        interactions: of two that explain much, the one that explains most first.
        target: the score that is explained: "final", or "first validation".
        settings: of each trial that has it, all its parameters.
        scores: of these trials.
    """

    parameters: tuple[Influence, ...]
    interactions: tuple[Interaction, ...]
    target: str
    settings: tuple[dict[str, Any], ...]
    scores: tuple[float, ...]

    @property
    def trials(self) -> int:
        """How many trials have the score that is explained."""
        return len(self.scores)


def influences(study: Study, *, seed: int = 0) -> Influences:
    """Explain the final scores; where trials were discarded, the scores at the first validation.

    Those that were not discarded are a choice of the good ones, from which one cannot tell what
    made the others bad.

    Raises:
        InputError: too few trials have such a score, or all of them are equal.
    """
    reported = [trial for trial in study.get_trials(deepcopy=False) if curve_of(trial)]
    discarded = any(trial.state == TrialState.PRUNED for trial in reported)
    if discarded:
        study = _scored(reported, [next(iter(curve_of(trial).values())) for trial in reported])
    elif len(study.directions) > 1:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        study = _scored(complete, [trial.values[0] for trial in complete])
    model = Model(study, seed=seed)
    parameters = tuple(_explained(study, model, seed=seed))
    leading = [each.name for each in parameters[:LEADING]]
    pairs = [model.interaction(*names) for names in itertools.combinations(leading, 2)]
    return Influences(
        parameters=parameters,
        interactions=tuple(sorted(pairs, key=lambda pair: -pair.share)[:MOST_PAIRS]),
        target="first validation" if discarded else "final",
        settings=tuple(trial.params for trial in model.trials),
        scores=tuple(trial.values[0] for trial in model.trials),
    )


def _explained(study: Study, model: Model, *, seed: int) -> list[Influence]:
    from optuna.importance import (  # it loads scikit-learn, which takes a second
        FanovaImportanceEvaluator,
        PedAnovaImportanceEvaluator,
        get_param_importances,
    )

    names = list(model.space)
    try:
        fanova = get_param_importances(
            study, evaluator=FanovaImportanceEvaluator(seed=seed), params=names
        )
    except RuntimeError as failure:  # its trees explain nothing
        raise InputError(f"influences need scores that parameters explain: {failure}") from None
    ped_anova = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=names)
    found = [
        Influence(name, fanova[name], ped_anova[name], model.effects(name), model.scale(name))
        for name in names
    ]
    return sorted(found, key=lambda each: (-each.fanova, each.name))


def signals(records: Sequence[TrialRecord]) -> dict[str, float | None]:
    """Return how well cheap signals rank the trials as their scores do, as Spearman's rho.

    None where a signal does not vary, or fewer than three trials have it.
    """
    ended = [record for record in records if record.state == "complete"]
    pairs: dict[str, list[tuple[float, float]]] = {"parameters": [], "macs": [], "early score": []}
    for record in ended:
        assert record.score is not None
        early = record.curve[min(record.curve)] if len(record.curve) > 1 else None
        signal = {"parameters": record.parameters, "macs": record.macs, "early score": early}
        for name, value in signal.items():
            if value is not None:
                pairs[name].append((float(value), record.score))
    return {name: _correlation(found) for name, found in pairs.items()}


def _correlation(pairs: list[tuple[float, float]]) -> float | None:
    if len(pairs) < 3 or any(len(set(side)) < 2 for side in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def _scored(trials: Sequence[FrozenTrial], scores: Sequence[float]) -> Study:
    """Return a study in memory of these trials, as if they had ended with these scores."""
    study = optuna.create_study(direction="maximize")
    for trial, score in zip(trials, scores, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions, value=score
            )
        )
    return study
