"""Greedy selection equals a slow transcript of the method, whatever the order of the models."""

import math
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.ensemble import Ensemble
from search.joint_costs import JointCosts
from search.metrics import METRICS, Metric
from search.predictions import OutOfFoldPredictions, mean_log_loss
from search.selection import greedy_selection

Predictions = dict[str, OutOfFoldPredictions]
seeds = st.integers(0, 2**31 - 1)


def covering(
    targets: NDArray[np.int64], probabilities: NDArray[np.floating[Any]]
) -> OutOfFoldPredictions:
    """Return predictions of the rows in which `probabilities` are numbers."""
    rows = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    empty = OutOfFoldPredictions.empty(targets, probabilities.shape[1])
    return empty.with_fold(rows, probabilities[rows])


def random_problem(seed: int, *, coarse: bool = False) -> Predictions:
    """Draw models a little better than chance, some with rows that they did not predict.

    Coarse probabilities are multiples of 1/4: ties in a row, in accuracy and in log-loss abound.
    """
    rng = np.random.default_rng(seed)
    models, rows, classes = rng.integers(1, 7), int(rng.integers(5, 40)), int(rng.integers(2, 5))
    targets = rng.integers(0, classes, rows)
    made = {}
    for model in range(models):
        towards = np.eye(classes)[targets] * rng.uniform(0, 1)
        drawn = rng.dirichlet(np.full(classes, 0.7), rows) + towards
        drawn /= drawn.sum(axis=1, keepdims=True)
        if coarse:
            drawn = np.array([rng.multinomial(4, row) for row in drawn]) / 4
        drawn[1:][rng.random(rows - 1) < 0.05] = np.nan  # row 0 stays common
        made[f"model-{model}"] = covering(targets, drawn)
    return made


def large_problem(seed: int) -> Predictions:
    """Draw twelve models that are sure of most rows, and mostly of the same classes."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(6, 600, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    easy = rng.uniform(0.0, 9.0, (600, 1))
    made = {}
    for model in range(12):
        logits = np.eye(6)[targets] * easy + rng.normal(0.0, 2.0, (600, 6))
        powers = np.exp(logits - logits.max(1, keepdims=True))
        made[f"model-{model}"] = covering(targets, powers / powers.sum(1, keepdims=True))
    return made


def slow_selection(
    predictions: Mapping[str, OutOfFoldPredictions], *, rounds: int, seed: int
) -> tuple[dict[str, Fraction], list[Fraction]]:
    """Select by the book, one row at a time, in exact fractions; return weights and scores."""
    rng = np.random.default_rng(seed)
    names = sorted(predictions)
    everywhere = [row for row in range(len(predictions[names[0]].targets))]
    rows = [r for r in everywhere if all(predictions[name].repeats[r] for name in names)]
    targets = [int(predictions[names[0]].targets[r]) for r in rows]
    exact = {
        name: [[Fraction(float(p)) for p in predictions[name].probabilities[r]] for r in rows]
        for name in names
    }

    def score(members: list[str]) -> tuple[Fraction, float]:
        right, given_targets = 0, []
        for row, target in enumerate(targets):
            sums = [sum(column) for column in zip(*(exact[m][row] for m in members), strict=True)]
            right += sums.index(max(sums)) == target
            given_targets.append(float(sums[target] / len(members)))
        smallest = float(np.finfo(np.float32).eps)
        losses = [-np.log(min(max(given, smallest), 1.0)) for given in given_targets]
        return Fraction(right, len(rows)), float(np.mean(losses))

    bag: list[str] = []
    scores: list[Fraction] = []
    for _ in range(rounds):
        judged = {name: score([*bag, name]) for name in names}
        top = max(accuracy for accuracy, _ in judged.values())
        tied = [name for name in names if judged[name][0] == top]
        tied = [name for name in tied if name in bag] or tied
        lowest = min(judged[name][1] for name in tied)
        tied = [name for name in tied if judged[name][1] == lowest]
        places = [names.index(name) for name in tied]
        bag.append(names[int(rng.choice(places))] if len(tied) > 1 else tied[0])
        scores.append(top)
    kept = bag[: scores.index(max(scores)) + 1]
    return {name: Fraction(kept.count(name), len(kept)) for name in sorted(set(kept))}, scores


@given(problem=seeds, coarse=st.booleans(), rounds=st.integers(1, 8), seed=seeds)
@settings(deadline=None, max_examples=150)
def test_it_agrees_with_the_slow_transcript(
    problem: int, coarse: bool, rounds: int, seed: int
) -> None:
    predictions = random_problem(problem, coarse=coarse)
    weights, scores = slow_selection(predictions, rounds=rounds, seed=seed)
    made = greedy_selection(predictions=predictions, rounds=rounds, seed=seed)
    assert made.members == tuple(weights)
    assert made.weights == pytest.approx([float(weight) for weight in weights.values()])
    assert made.rounds == pytest.approx([float(score) for score in scores])
    assert made.score == pytest.approx(float(max(scores)))


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
@pytest.mark.parametrize("problem", range(4))
def test_each_round_adds_what_is_best_by_the_metric(problem: int, metric: Metric) -> None:
    predictions = large_problem(problem)
    names = sorted(predictions)
    targets = predictions[names[0]].targets
    models = [predictions[name].probabilities.astype(np.float64) for name in names]
    bag: list[int] = []
    scores = []
    for size in range(1, 13):
        sums = [np.sum([models[m] for m in [*bag, n]], axis=0) / size for n in range(len(models))]
        tries = np.round([metric.score(targets, each) for each in sums], 6 if bag else 15)
        tied = [n for n in range(len(models)) if tries[n] == tries.max()]
        tied = [n for n in tied if n in bag] or tied
        bag.append(min(tied, key=lambda n: mean_log_loss(sums[n], targets)))
        scores.append(float(tries.max()))
    made = greedy_selection(predictions=predictions, metric=metric, rounds=12, seed=0)
    assert made.rounds == pytest.approx(scores, abs=2e-6)
    kept = bag[: int(np.argmax(np.round(scores, 6))) + 1]
    assert made.members == tuple(names[n] for n in sorted(set(kept)))


@given(problem=seeds, seed=seeds)
@settings(deadline=None)
def test_no_single_member_is_better(problem: int, seed: int) -> None:
    predictions = random_problem(problem)
    common = np.logical_and.reduce([each.covered for each in predictions.values()])
    singles = [
        np.mean(each.probabilities[common].argmax(axis=1) == each.targets[common])
        for each in predictions.values()
    ]
    made = greedy_selection(predictions=predictions, seed=seed)
    assert made.rounds[0] == max(singles)
    assert made.score == max(made.rounds)
    assert len(made.rounds) == 25
    assert math.isclose(sum(made.weights), 1.0) and min(made.weights) > 0


@given(problem=seeds, seed=seeds)
@settings(deadline=None)
def test_a_copy_of_a_member_changes_no_score(problem: int, seed: int) -> None:
    predictions = random_problem(problem)
    alone = greedy_selection(predictions=predictions, seed=seed)
    copied = {"a-copy": predictions[alone.members[0]], **predictions}
    assert greedy_selection(predictions=copied, seed=seed).rounds == alone.rounds


@given(problem=seeds, coarse=st.booleans(), seed=seeds)
@settings(deadline=None)
def test_the_order_of_the_mapping_does_not_matter(problem: int, coarse: bool, seed: int) -> None:
    predictions = random_problem(problem, coarse=coarse)
    backwards = dict(reversed(predictions.items()))
    made = greedy_selection(predictions=predictions, seed=seed)
    assert made == greedy_selection(predictions=backwards, seed=seed)


@given(problem=seeds)
@settings(deadline=None)
def test_the_combined_members_have_the_stated_score(problem: int) -> None:
    predictions = random_problem(problem)
    made = greedy_selection(predictions=predictions, seed=0)
    combined = made.combine({name: each.probabilities for name, each in predictions.items()})
    common = np.logical_and.reduce([each.covered for each in predictions.values()])
    targets = predictions["model-0"].targets[common]
    assert combined.dtype == np.float32
    assert combined[common].sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.mean(combined[common].argmax(axis=1) == targets) == pytest.approx(made.score)


def right_on(rows: set[int], *, confidence: float = 0.8) -> OutOfFoldPredictions:
    """Return predictions of six rows of class 0 of two, right on `rows`, elsewhere 0.4 for it."""
    of_target = np.array([confidence if row in rows else 0.4 for row in range(6)])
    return covering(np.zeros(6, dtype=np.int64), np.stack([of_target, 1 - of_target], axis=1))


def test_one_model_is_an_ensemble_of_itself() -> None:
    made = greedy_selection(predictions={"only": right_on({0, 1})}, seed=0)
    assert (made.members, made.weights) == (("only",), (1.0,))
    assert made.score == pytest.approx(1 / 3)


def test_what_does_not_help_is_taken_back() -> None:
    """`best` is right everywhere at once; the further rounds must leave no trace."""
    predictions = {"best": right_on(set(range(6))), "other": right_on({0, 1, 2})}
    made = greedy_selection(predictions=predictions, rounds=7, seed=0)
    assert (made.members, made.weights, made.rounds) == (("best",), (1.0,), (1.0,) * 7)


def test_models_that_mend_each_other_beat_the_best_one() -> None:
    predictions = {
        "a": right_on({0, 1, 2, 3}),
        "b": right_on({2, 3, 4, 5}),
        "worse": right_on({0}),
    }
    made = greedy_selection(predictions=predictions, seed=1)
    assert made.rounds[:2] == pytest.approx((4 / 6, 1.0))
    assert (made.members, made.weights, made.score) == (("a", "b"), (0.5, 0.5), 1.0)


def test_a_tie_goes_to_the_lower_log_loss() -> None:
    predictions = {
        name: right_on({0, 1, 2, 3, 4, 5}, confidence=confidence)
        for name, confidence in [("a", 0.6), ("b", 0.9), ("c", 0.7)]
    }
    assert all(
        greedy_selection(predictions=predictions, seed=seed).members == ("b",) for seed in range(9)
    )


def test_a_tie_goes_to_a_used_model_before_the_lower_log_loss() -> None:
    targets = np.zeros(3, dtype=np.int64)
    a = covering(targets, np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9]]))
    c = covering(targets, np.array([[1.0, 0.0], [0.45, 0.55], [0.1, 0.9]]))
    made = greedy_selection(predictions={"a": a, "c": c}, rounds=2, seed=0)
    # In round two a + a and a + c are both right on rows 0 and 1, a + c with a lower log-loss.
    assert made.rounds == pytest.approx((2 / 3, 2 / 3))
    assert made.members == ("a",)


def test_equal_models_are_drawn_by_the_seed() -> None:
    predictions = {name: right_on({0, 1, 2}) for name in "abc"}
    drawn = [greedy_selection(predictions=predictions, seed=seed).members for seed in range(30)]
    assert set(drawn) == {("a",), ("b",), ("c",)}  # and never two of them
    again = [greedy_selection(predictions=predictions, seed=seed).members for seed in range(30)]
    assert drawn == again


def test_only_common_rows_count() -> None:
    targets = np.zeros(4, dtype=np.int64)
    right, wrong, nothing = [1.0, 0.0], [0.0, 1.0], [math.nan, math.nan]
    predictions = {
        "a": covering(targets, np.array([right, wrong, right, right])),
        "b": covering(targets, np.array([right, right, nothing, nothing])),
    }
    made = greedy_selection(predictions=predictions, seed=0)
    assert (made.members, made.score) == (("b",), 1.0)


@given(problem=seeds, seed=seeds)
@settings(deadline=None)
def test_an_ensemble_stays_within_limits_and_loses_nothing_by_wide_ones(
    problem: int, seed: int
) -> None:
    predictions = random_problem(problem)
    rng = np.random.default_rng(seed)
    shares = {name: rng.uniform(0.0, 1.0, 2).tolist() for name in predictions}
    made = greedy_selection(predictions=predictions, seed=seed, costs=JointCosts(shares))
    taken = np.sum([shares[name] for name in made.members], axis=0)
    assert taken.max() <= 1.0 + 1e-6
    wide = {name: [value / len(predictions) for value in each] for name, each in shares.items()}
    unlimited = greedy_selection(predictions=predictions, seed=seed)
    assert greedy_selection(predictions=predictions, seed=seed, costs=JointCosts(wide)) == unlimited


def test_of_models_beyond_the_limits_none_is_taken() -> None:
    right, wrong = right_on({0, 1, 2}), right_on({0})
    shares = {"right": [1.1], "wrong": [0.4]}
    both = {"right": right, "wrong": wrong}
    made = greedy_selection(predictions=both, seed=0, costs=JointCosts(shares))
    assert made.members == ("wrong",)
    with pytest.raises(ValueError, match="a model must be within all limits"):
        greedy_selection(predictions={"right": right}, seed=0, costs=JointCosts({"right": [1.1]}))


@pytest.mark.parametrize(
    ("price", "member"),
    [(0.0, "dear"), (0.2, "dear"), (0.22, "cheap"), (9.0, "cheap")],
)
def test_what_a_member_costs_must_be_worth_it(price: float, member: str) -> None:
    # Three of six rows right against two, for eight tenths more of the limit.
    predictions = {"dear": right_on({0, 1, 2}), "cheap": right_on({0, 1})}
    costs = JointCosts({"dear": [0.9, 0.1], "cheap": [0.1, 0.05]}, price=price)
    made = greedy_selection(predictions=predictions, seed=0, costs=costs)
    assert made.members == (member,)
    assert made.score == pytest.approx((3 if member == "dear" else 2) / 6)


def test_a_second_member_is_dropped_if_it_gains_less_than_it_costs() -> None:
    predictions = {"a": right_on({0, 1}), "b": right_on({1, 2}), "c": right_on({0, 2})}
    shares = {name: [0.3] for name in predictions}
    free = greedy_selection(predictions=predictions, seed=0, costs=JointCosts(shares))
    assert len(free.members) == 2 and free.score == pytest.approx(3 / 6)
    dear = greedy_selection(predictions=predictions, seed=0, costs=JointCosts(shares, price=1.0))
    assert len(dear.members) == 1 and dear.score == pytest.approx(2 / 6)


def test_what_cannot_be_selected_from() -> None:
    targets = np.zeros(2, dtype=np.int64)
    first = covering(targets, np.array([[1.0, 0.0], [math.nan, math.nan]]))
    second = covering(targets, np.array([[math.nan, math.nan], [1.0, 0.0]]))
    with pytest.raises(ValueError, match=r"covered by all models, but they cover \[1, 1\]"):
        greedy_selection(predictions={"a": first, "b": second}, seed=0)
    others = covering(targets + 1, np.array([[1.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="same targets"):
        greedy_selection(predictions={"a": first, "b": others}, seed=0)
    wider = covering(targets, np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"one shape, but got \[\(2, 2\), \(2, 3\)\]"):
        greedy_selection(predictions={"a": first, "b": wider}, seed=0)
    with pytest.raises(ValueError, match="at least one model"):
        greedy_selection(predictions={}, seed=0)
    with pytest.raises(ValueError, match="rounds must be at least 1, but got 0"):
        greedy_selection(predictions={"a": first}, rounds=0, seed=0)


def test_combine_weighs_members_and_ignores_others() -> None:
    made = Ensemble(members=("a", "b"), weights=(0.75, 0.25), score=0.5)
    given_arrays = {
        "a": np.array([[1, 0]], dtype=np.float32),
        "b": np.array([[0, 1]], dtype=np.float32),
        "c": np.zeros((9, 9), dtype=np.float32),
    }
    assert made.combine(given_arrays).tolist() == [[0.75, 0.25]]
    with pytest.raises(ValueError, match=r"none of \['b'\]"):
        made.combine({"a": given_arrays["a"]})
    with pytest.raises(ValueError, match="one shape"):
        made.combine({"a": given_arrays["a"], "b": given_arrays["c"]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": []}, "one or more"),
        ({"members": ["a", "a"]}, "each once"),
        ({"weights": [1.0]}, "2 members must have a weight, but got 1"),
        ({"weights": [0.5, 0.4]}, "must sum to 1, but got 0.9"),
        ({"weights": [1.0, 0.0]}, "greater than 0"),
        ({"score": math.nan}, "finite"),
    ],
)
def test_what_is_no_ensemble(change: dict[str, Any], message: str) -> None:
    sound = {"members": ["a", "b"], "weights": [0.5, 0.5], "score": 0.9, "rounds": [0.9]}
    assert Ensemble.model_validate(sound).members == ("a", "b")
    with pytest.raises(ValueError, match=message):
        Ensemble.model_validate(sound | change)


def test_neither_torch_nor_sql_nor_sklearn_is_loaded() -> None:
    program = (
        "import search.selection, sys; "
        "print(sorted({'torch', 'sqlalchemy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
