"""What out-of-fold predictions say of a model: its members, its mistakes, its calibration."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from athanor.report.values import (
    Calibration,
    Ensemble,
    Member,
    Mistakes,
    NumberMistake,
    Score,
)
from search.calibration import as_scored, at_temperature
from search.ensemble import member_name
from search.estimate import THOROUGH
from search.job import Job
from search.joint_costs import exceed
from search.metrics import METRICS, Metric, confusion, score_text
from search.mistakes import confused_pairs, worst_mistakes
from search.predictions import Z_95, share_interval
from search.reliability import calibration_error, reliability
from search.score_errors import standard_error
from search.store import TrialRecord
from workers.judged_rows import JudgedRows, is_stacked

MOST_CLASSES = 60  # of which all pairs are told
MOST_PAIRS = 12
MOST_WORST = 64
SURE = 0.9  # probability of a wrong class that hints at a wrong label


def ensemble_of(job: Job, records: list[TrialRecord], judged: JudgedRows | None) -> Ensemble | None:
    """Return what the model is made of; None while there is none."""
    result = job.result
    if result is None:
        return None
    metric = METRICS[result["metric"]]
    weights = {member_name(each["trial"]): each["weight"] for each in result["members"]}
    named = {*result["out_of_fold_of_members"], *weights}
    members = tuple(
        _member(record, result, metric=metric, weights=weights, judged=judged)
        for record in records
        if member_name(record.number) in named
    )
    expected = result["expected"]
    return Ensemble(
        final=result["final"],
        networks=result["networks"],
        parameters=sum(member.networks * (member.parameters or 0) for member in members),
        members=tuple(sorted(members, key=lambda member: -member.weight)),
        score=_interval(result["out_of_fold_score"], judged, metric=metric, result=result),
        rows=result["out_of_fold_rows"],
        expected=Score(expected["score"], *expected["interval"]),
        test=test_score(result),
        test_rows=result["test_rows"],
        words=tuple(_words(result, weights)),
    )


def test_score(result: Mapping[str, Any]) -> Score | None:
    """Return what the test showed by the job's metric, as the store has it."""
    if "test_score" in result:
        return Score(result["test_score"], *result["test_score_interval"])
    if "test_accuracy" in result and result["metric"] == "accuracy":
        return Score(result["test_accuracy"], *result["test_interval"])
    return None


def mistakes_of(judged: JudgedRows, temperature: float) -> Mistakes:
    """Count which classes are taken for which, and find the worst mistakes."""
    probabilities = at_temperature(judged.together, temperature)
    counts = confusion(judged.targets, judged.together)
    few = len(counts) <= MOST_CLASSES
    wrong = judged.together.argmax(1) != judged.targets
    rows = counts.sum(1)
    return Mistakes(
        rows=len(judged.rows),
        wrong=int(rows.sum() - counts.trace()),
        sure=int(((probabilities.max(1) >= SURE) & wrong).sum()),
        counts=tuple(tuple(map(int, row)) for row in counts) if few else (),
        recall=tuple(
            float(right / total) if total else 0.0
            for right, total in zip(counts.diagonal(), rows, strict=True)
        ),
        pairs=confused_pairs(counts, most=MOST_PAIRS),
        worst=worst_mistakes(probabilities, judged.targets, judged.rows, most=MOST_WORST),
    )


def number_mistakes_of(judged: JudgedRows) -> tuple[NumberMistake, ...]:
    """Return the rows whose numbers are predicted worst."""
    predicted: NDArray[np.float64] = judged.together[:, 0].astype(np.float64)
    order = np.argsort(-np.abs(predicted - judged.targets), kind="stable")[:MOST_WORST]
    return tuple(
        NumberMistake(int(judged.rows[n]), float(judged.targets[n]), float(predicted[n]))
        for n in order
    )


def calibration_of(judged: JudgedRows, temperature: float) -> Calibration:
    """Return the reliability of the model's probabilities."""
    bins = reliability(at_temperature(judged.together, temperature), judged.targets)
    before = reliability(judged.together, judged.targets)
    return Calibration(
        temperature=temperature,
        bins=bins,
        error=calibration_error(bins),
        error_before=calibration_error(before),
        rows=len(judged.rows),
    )


def _member(
    record: TrialRecord,
    result: Mapping[str, Any],
    *,
    metric: Metric,
    weights: Mapping[str, float],
    judged: JudgedRows | None,
) -> Member:
    name = member_name(record.number)
    score = result["out_of_fold_of_members"].get(name)
    said = None if judged is None else judged.each.get(name)
    return Member(
        trial=record.number,
        weight=weights.get(name, 0.0),
        networks=next((m["networks"] for m in result["members"] if m["trial"] == record.number), 0),
        score=_interval(score, judged, metric=metric, result=result, said=said),
        without=None if is_stacked(result) else _without(name, weights, judged, metric=metric),
        test=result.get("test_accuracy_of_members", {}).get(name),
        parameters=record.parameters,
        network="" if record.candidate is None else str(record.candidate.architecture),
    )


def _without(
    name: str, weights: Mapping[str, float], judged: JudgedRows | None, *, metric: Metric
) -> float | None:
    """Return the score of the other members together, by their weights."""
    others = {other: weight for other, weight in weights.items() if other != name}
    if judged is None or name not in weights or not others:
        return None
    said = [judged.each[other] for other in others]
    mean = np.average(said, axis=0, weights=list(others.values()))
    return metric.score(judged.targets, mean)


def _interval(
    score: float,
    judged: JudgedRows | None,
    *,
    metric: Metric,
    result: Mapping[str, Any],
    said: NDArray[Any] | None = None,
) -> Score:
    """Return a score with its interval over the rows that were judged, if these are known."""
    if judged is None:
        return Score(score)
    if said is None:
        said = as_scored(metric, judged.together, result.get("temperature", 1.0))
    effect = result.get("design_effect", 1.0)
    if metric.name == "accuracy":
        return Score(score, *share_interval(score, rows=len(judged.targets) / effect))
    reach = Z_95 * math.sqrt(effect) * standard_error(metric, judged.targets, said, seed=0)
    return Score(score, score - reach, min(score + reach, metric.highest))


def _words(result: Mapping[str, Any], weights: Mapping[str, float]) -> list[str]:
    said = []
    if len(weights) == 1 and result["networks"] > 1:
        said.append(
            f"The model is {result['networks']} networks of one trial, each trained without "
            "another fold; their mean is usually better than each of them."
        )
    if result.get("stacking") is not None:
        stacking = result["stacking"]
        verdict = "is used" if stacking["used"] else "is not clearly better, and not used"
        said.append(
            f"A stack of the members, a linear model of what they say, {verdict}: "
            f"{score_text(stacking['score'])} against {score_text(stacking['mean_score'])} of "
            "their mean, on rows that neither was fitted to."
        )
    if result["final"] == "refit" and result.get("refit_share", 1.0) < THOROUGH:
        said.append(
            f"The refit saw {result['refit_share']:.0%} of the images that a network of the folds "
            "saw; it may be worse than these, which speak for it."
        )
    if result["expected"]["lower"]:
        why = (
            "Out of fold the rows are judged by networks that have learnt from fewer rows"
            if result["final"] == "refit"
            else "Out of fold each row is judged by fewer networks than the model has"
        )
        said.append(f"{why}, so the test should be as good or better.")
    if "chosen_among" in result:
        said.append(
            f"Its trials were chosen among {result['chosen_among']} by an earlier job's weights, "
            "on the rows that judge here: the score is flattered a little."
        )
    if "limits" in result:
        said.append(f"Limits on all networks together: {result['limits']}.")
        if exceed(result["costs"], result["limits"]):
            said.append("No network that was trained is within them; the cheapest is kept.")
    if "teacher" in result:
        teacher = result["teacher"]
        said.append(f"It was taught by {teacher['networks']} networks of {teacher['job']}.")
    if result.get("temperature", 1.0) != 1.0:
        before, after = (
            score_text(result[f"out_of_fold_log_loss{part}"]) for part in ("", "_at_temperature")
        )
        said.append(
            f"Probabilities are given at temperature {result['temperature']:.2f}: out of fold, the "
            f"log-loss falls from {before} to {after}."
        )
    return said
