"""What the model folder will hold: which of the finalists' networks, and with which weights."""

import math
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.calibration import HOTTEST, as_scored
from search.combining import Combining, CrossFitted, StackComparison, compare_stack
from search.ensemble import Ensemble, member_name
from search.estimate import THOROUGH, estimate
from search.folds import ALL_ROWS, JUDGING_FOLD
from search.joint_costs import JointCosts
from search.plan import Final
from search.score_errors import standard_error
from search.selection import FREE
from search.stacking import Stack, fitted_stack
from search.store import FoldTask
from spaces.errors import JobFailed
from workers.ensemble_limits import EnsembleLimits, ensemble_limits
from workers.landing import race_of
from workers.landing_again import earlier_of, networks_of
from workers.landing_time import (
    ASSEMBLY_SECONDS,
    scoring_seconds,
    stacking_seconds,
    verifying_seconds,
)
from workers.out_of_fold import (
    Predictions,
    known_scores,
    left_out,
    one_parting,
    out_of_fold,
)
from workers.workbench import Workbench

GRACE = 5.0  # seconds, by which what is foreseen may be beyond the budget
LEAST_REFIT = 0.5  # of the images that its folds have seen; below, their networks are kept instead


@dataclass(frozen=True, eq=False)
class Choice:
    """Networks, and what is known of them before the test set is opened.

    Attributes:
        networks: the finalists' folds whose networks are kept.
        shares: of each of their trials in the ensemble, by number; their sum is 1.
        stack: what combines their trials in place of the shares.
        scores: for the job's result; those out of fold are of networks that had not seen the rows.
    """

    networks: list[FoldTask]
    shares: dict[int, float]
    stack: Stack | None
    scores: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Selected:
    """Networks that are kept, and by what they were chosen.

    Attributes:
        ensemble: the weighted mean of their trials.
        judged: the folds by which the model is judged. Where there are fewer networks than the
            folds have given, one judges each row; where there is one network, those of its trial.
        facts: about the choice, for the job's result.
    """

    final: Final
    networks: list[FoldTask]
    shares: dict[int, float]
    ensemble: Ensemble
    combining: Combining
    limits: EnsembleLimits
    judged: list[FoldTask]
    facts: dict[str, Any]

    @property
    def averaged(self) -> bool:
        """Whether trials have several networks each, whose means predict."""
        return len(self.networks) > len(self.shares)

    @property
    def learnt_more(self) -> bool:
        """Whether its networks are refits that have learnt from more rows, and as much of them."""
        return self.final == "refit" and self.facts["refit_share"] >= THOROUGH


def choose(bench: Workbench) -> Choice:
    """Choose networks by what they say of the rows that they have left out.

    Raises:
        JobFailed: no fold was finished.
    """
    chosen = _select(bench)
    predictions, parts = out_of_fold(bench, chosen.judged), left_out(bench, chosen.judged)
    combining, stack = chosen.combining, None
    stacking = _compared(bench, chosen, predictions, parts)
    if stacking is not None and stacking.used:
        combining = replace(combining, stacked=True)
        stack = fitted_stack(predictions, chosen.ensemble.members, seed=combining.seed)
    judged = combining.cross_fitted(predictions, parts, groups=bench.folds.groups)
    scores = _scores(bench, chosen, predictions, judged)
    if len(predictions) > 1 and chosen.final != "best":
        scores["fitted_score"] = _fitted_score(bench, chosen, predictions, stack, scores)
    among = _chosen_among(bench, chosen)
    expected = estimate(
        judged,
        metric=bench.metric,
        seed=combining.seed,
        temperature=scores.get("temperature", 1.0),
        effect=scores.get("design_effect", 1.0),
        test_rows=len(bench.data.test_labels),
        lower=(chosen.averaged or chosen.learnt_more) and among == 1 and _foreseeable(bench),
    )
    scores |= {"final": chosen.final, "expected": asdict(expected), **chosen.facts}
    if stacking is not None:
        scores["stacking"] = asdict(stacking)
    if chosen.limits.limits:
        scores["limits"] = dict(chosen.limits.limits)
        scores["costs"] = chosen.limits.total(chosen.networks)
    if among > 1:
        scores["chosen_among"] = among
    return Choice(networks=chosen.networks, shares=chosen.shares, stack=stack, scores=scores)


def _select(bench: Workbench) -> _Selected:
    """Choose finalists by the rows that all of them have left out, then which networks are kept."""
    done = _finished_folds(bench)
    trained, judged = _comparable(done)
    predictions = out_of_fold(bench, judged)
    asked = ensemble_limits(bench, trained)
    # what a whole search has trained is not thrown away
    limits = asked.reachable() if bench.job.spec.lands is None else asked
    folds = len({task.fold for task in trained}) if bench.plan.final == "bag" else 1
    most = _verifiable(bench, trained)
    each = min(limits.networks_each(folds), most)
    combining = Combining(
        metric=bench.metric,
        seed=bench.seed("ensemble"),
        costs=_joint_costs(bench, limits, predictions, networks=each),
    )
    ensemble = combining.mean(predictions)
    within = [task for task in trained if combining.costs.allow(member_name(task.trial))]
    final, networks, shares, facts = _kept(bench, within, ensemble)
    most = each if limits.limits else most
    kept = [task for task in networks if _rank(task, networks) < most]
    if len(kept) < len(networks) and not limits.limits:
        facts["unverified"] = len(networks) - len(kept)
    if len(trained) < sum(map(len, done.values())):
        facts["incomparable"] = sum(map(len, done.values())) - len(trained)
    if final != "bag" or each < folds:
        judged = one_parting(bench, judged)
    if final == "best":
        judged = [task for task in judged if task.trial == kept[0].trial]
    return _Selected(final, kept, shares, ensemble, combining, asked, judged, facts)


def _compared(
    bench: Workbench,
    chosen: _Selected,
    predictions: Predictions,
    parts: list[NDArray[np.int64]],
) -> StackComparison | None:
    """Return how a stack does beside the mean; None where there is none, or no time for it."""
    whole = chosen.final != "best" and len(chosen.shares) == len(chosen.ensemble.members)
    needed = stacking_seconds(bench, len(predictions))
    if not whole or needed >= _seconds_to_spare(bench, chosen.networks):
        return None
    return compare_stack(predictions, parts, chosen.combining, groups=bench.folds.groups)


def _scores(
    bench: Workbench, chosen: _Selected, predictions: Predictions, judged: CrossFitted
) -> dict[str, Any]:
    """Return the model's scores out of fold; of a single network, on the rows it has left out."""
    if chosen.final == "best":
        predictions = out_of_fold(bench, chosen.networks)
        alone = left_out(bench, chosen.networks)
        judged = chosen.combining.cross_fitted(predictions, alone)
    # a mean of networks is less sure than each of them, by which the temperature is measured
    hottest = 1.0 if chosen.final == "bag" and chosen.averaged else HOTTEST
    return known_scores(bench, predictions, judged, hottest=hottest)


def _fitted_score(
    bench: Workbench,
    chosen: _Selected,
    predictions: Predictions,
    stack: Stack | None,
    scores: dict[str, Any],
) -> float:
    """Return what the weights or the stack score on the rows that they were fitted to.

    That is no measure of the model, but what its files must give again.
    """
    combination: Ensemble | Stack = stack or chosen.ensemble
    first = next(iter(predictions.values()))
    said = combination.combine({name: each.probabilities for name, each in predictions.items()})
    scored = as_scored(bench.metric, said[first.covered], scores.get("temperature", 1.0))
    return bench.metric.score(first.targets[first.covered], scored)


def _joint_costs(
    bench: Workbench, limits: EnsembleLimits, predictions: Predictions, *, networks: int
) -> JointCosts:
    """Return what finalists of so many networks each take of the limits on the model.

    A model that uses its tightest limit up must be better by a standard error of the best
    finalist's score than one that costs nothing: what is cheaper and as good is taken.
    """
    if not limits.limits:
        return FREE
    best = max(predictions.values(), key=lambda each: each.score(bench.metric))
    rows = best.covered
    targets, found = best.targets[rows], best.probabilities[rows]
    groups, seed = bench.folds.groups, bench.seed("price")
    own = None if groups is None else groups[rows]
    return JointCosts(
        shares={member_name(trial): limits.shares(trial, networks) for trial in limits.costs},
        price=standard_error(bench.metric, targets, found, seed=seed, groups=own),
    )


def _seconds_to_spare(bench: Workbench, networks: list[FoldTask]) -> float:
    """Return what is left of the budget besides the time to score and verify the networks."""
    left = bench.heartbeat.seconds_until(bench.job.spec.budget) - scoring_seconds(bench)
    return left - ASSEMBLY_SECONDS - verifying_seconds(bench, networks, networks)


def _verifiable(bench: Workbench, trained: list[FoldTask]) -> int:
    """Return how many networks of each finalist the budget leaves time to verify; at least one.

    A search has seen to it before; one that lands many networks of another may not have the time.
    """
    over = -_seconds_to_spare(bench, trained) - GRACE
    if over <= 0.0:
        return len(trained)
    seconds = verifying_seconds(bench, trained, trained)
    networks = len(trained) * (1.0 - over / seconds)
    return max(1, int(networks / len({task.trial for task in trained})))


def _kept(
    bench: Workbench, tasks: list[FoldTask], ensemble: Ensemble
) -> tuple[Final, list[FoldTask], dict[int, float], dict[str, Any]]:
    """Return what is made of the folds' networks, which are kept, each trial's share, and facts.

    Where a refit was asked for and there is none, or hardly one, the folds' networks are kept.
    """
    facts: dict[str, Any] = {}
    weights = dict(zip(ensemble.members, ensemble.weights, strict=True))
    names = {task.trial: member_name(task.trial) for task in tasks}
    shares = {trial: weights[name] for trial, name in names.items() if name in weights}
    folds = [task for task in tasks if task.trial in shares]
    if bench.plan.final == "best":
        best = max(tasks, key=lambda task: (_or_worst(task.score), -task.place, -task.fold))
        return "best", [best], {best.trial: 1.0}, {"best_of": len(tasks)}
    if bench.plan.final == "refit":
        done = [t for t in bench.store.folds.all(bench.job.id) if t.done and t.fold == ALL_ROWS]
        refits = [task for task in done if task.trial in shares]
        if len(refits) == len(ensemble.members):  # of fewer nobody knows how good they are together
            facts = {"refit_share": min(_share_seen(refit, tasks) for refit in refits)}
            if facts["refit_share"] >= LEAST_REFIT or _seconds_to_spare(bench, folds) < 0.0:
                return "refit", refits, shares, facts
    return "bag", folds, shares, facts


def _share_seen(refit: FoldTask, tasks: list[FoldTask]) -> float:
    """Return how many images a refit has seen, over what its trial's folds have on average."""
    folds = [_images(task) for task in tasks if task.trial == refit.trial]
    return _images(refit) * len(folds) / sum(folds)


def _images(task: FoldTask) -> int:
    assert task.report is not None
    return int(task.report["images"])


def _rank(task: FoldTask, networks: list[FoldTask]) -> int:
    """Return how many networks of the same finalist come before one: those of earlier folds."""
    return sum(other.trial == task.trial and other.fold < task.fold for other in networks)


def _or_worst(score: float | None) -> float:
    return -math.inf if score is None else score


def _chosen_among(bench: Workbench, chosen: _Selected) -> int:
    """Return of how many trials earlier jobs' weights left these; 1 where they left out none.

    These weights were chosen on the rows that judge here.
    """
    spec = bench.job.spec
    if spec.lands is None or spec.distills is not None:
        return 1
    earlier = earlier_of(bench.store, bench.job)
    before = {task.trial for task in networks_of(bench.store, earlier)}
    left = 1 if before <= {task.trial for task in chosen.judged} else len(before)
    return max(left, int((earlier.result or {}).get("chosen_among", 1)))


def _foreseeable(bench: Workbench) -> bool:
    """Whether more networks or more rows can but help.

    Later rows than all that were learnt may be unlike them, and a student's judges were among the
    rows that its teachers have learnt.
    """
    return bench.data.columns.times is None and bench.job.spec.distills is None


def _finished_folds(bench: Workbench) -> dict[int, list[FoldTask]]:
    """Return the finished folds of each finalist, the best finalist first."""
    done: defaultdict[int, list[FoldTask]] = defaultdict(list)
    tasks = bench.store.folds.all(bench.job.id)
    for task in race_of(bench, tasks).ranked(tasks):
        if task.done and task.fold not in (JUDGING_FOLD, ALL_ROWS):
            done[task.trial].append(task)
    if not done:
        raise JobFailed("the landing must finish at least one fold, but none was finished")
    return dict(done)


def _comparable(done: dict[int, list[FoldTask]]) -> tuple[list[FoldTask], list[FoldTask]]:
    """Return the folds whose networks can be used, and those by which finalists are compared.

    The latter are those that all finalists have, so that these are judged on the same rows.
    Finalists with less than half of the fullest one's folds in common with it are left out.
    """
    fullest = sorted(done, key=lambda trial: -len(done[trial]))  # of equal ones the best first
    common, used = {task.fold for task in done[fullest[0]]}, set[int]()
    for trial in fullest:
        shared = common & {task.fold for task in done[trial]}
        if 2 * len(shared) >= len(done[fullest[0]]):
            common = shared
            used.add(trial)
    trained = [task for trial, folds in done.items() if trial in used for task in folds]
    return trained, [task for task in trained if task.fold in common]
