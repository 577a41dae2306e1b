"""Each advice is given where its figures speak for it, and nowhere else."""

from dataclasses import replace
from typing import Any

import pytest

from athanor.report.advice import Findings, advice_of
from athanor.report.values import (
    Board,
    Calibration,
    Ensemble,
    GapRow,
    Importance,
    Mistakes,
    Score,
    TrialRow,
)
from search.baselines import Baseline
from search.effects import Effect
from search.influence import Influence
from search.job import Job
from search.job_spec import JobSpec
from search.mistakes import Confusion
from search.store import FoldTask

JOB = Job(
    id="a-job",
    state="done",
    priority=0,
    spec=JobSpec.parse({"data": "digits"}),
    plan=None,
    error=None,
    created_at=0.0,
    seconds_used=1.0,
    phases={},
    result=None,
)


def row(number: int, score: float, *, tied: bool = False, parameters: int = 1000) -> TrialRow:
    return TrialRow(
        trial=number,
        state="complete",
        score=Score(score),
        behind=None,
        behind_text="",
        tied=tied,
        folds=None,
        parameters=parameters,
        macs=None,
        latency=None,
        seconds=1.0,
        network="",
        note="",
    )


def gap(training: float, left_out: float) -> tuple[GapRow, ...]:
    return (GapRow(0, training, left_out, None, 100 * (training - left_out), ""),)


def fold(epochs: float) -> FoldTask:
    return FoldTask("a-job", 0, 1, 0, "done", None, 0.9, {"epochs": epochs})


QUIET = Findings(
    job=JOB,
    board=Board(tuple(row(n, 0.9 - n / 100) for n in range(9)), (("complete", 9),), (), ()),
    importance=Importance(),
    gaps=gap(0.93, 0.9),
    ensemble=None,
    mistakes=None,
    calibration=None,
    tasks=(fold(40.0),),
    class_names=("cat", "dog", "fox"),
)


def effects(*scores: float, values: tuple[float, ...]) -> Importance:
    found = tuple(Effect(v, s, 5) for v, s in zip(values, scores, strict=True))
    return Importance(parameters=(Influence("width", 0.5, 0.5, found, "linear"),))


def mistakes(**changes: Any) -> Mistakes:
    few = Mistakes(100, 20, 0, (), (0.9, 0.9, 0.9), (Confusion(0, 1, 2, 0.1),), ())
    return replace(few, **changes)


def ensemble(test: float) -> Ensemble:
    score = Score(0.9, 0.88, 0.92)
    return Ensemble("bag", 1, 1000, (), score, 100, score, Score(test, 0.0, 1.0), 100, ())


def told(found: Findings) -> list[str]:
    return [advice.what for advice in advice_of(found)]


def test_where_no_figure_speaks_nothing_is_advised() -> None:
    full = replace(
        QUIET,
        mistakes=mistakes(),
        calibration=Calibration(1.0, (), 0.01, 0.02, 100),
        ensemble=ensemble(0.9),
        importance=effects(0.5, 0.9, 0.6, values=(1.0, 2.0, 3.0)),
    )
    assert told(QUIET) == [] and told(full) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gaps": gap(0.99, 0.9)}, "More rows, stronger augmentation"),
        ({"gaps": gap(0.9, 0.9), "tasks": (fold(3.0),)}, "A larger budget"),
        ({"gaps": gap(0.9, 0.9)}, "A larger network"),
        ({"mistakes": mistakes(sure=4)}, "Look at the labels"),
        (
            {"mistakes": mistakes(pairs=(Confusion(2, 0, 4, 0.1), Confusion(0, 2, 3, 0.1)))},
            "More or better images of cat and fox",
        ),
        ({"calibration": Calibration(1.0, (), 0.2, 0.2, 100)}, "Do not rely"),
        ({"ensemble": ensemble(0.8)}, "Look how the test rows differ"),
        (
            {"importance": effects(0.5, 0.6, 0.9, values=(1.0, 2.0, 3.0))},
            "A wider range of width",
        ),
    ],
)
def test_a_rule_speaks_with_its_evidence(changes: dict[str, Any], said: str) -> None:
    (advice,) = advice_of(replace(QUIET, **changes))
    assert advice.what.startswith(said) and any(c.isdigit() for c in advice.evidence)


def test_a_range_that_ends_at_nothing_cannot_be_wider() -> None:
    assert told(replace(QUIET, importance=effects(0.9, 0.6, 0.5, values=(0.0, 0.1, 0.2)))) == []


def test_of_the_leaderboard_ties_baselines_and_limits_speak() -> None:
    small = (row(0, 0.9, tied=True), row(1, 0.89, tied=True, parameters=100), *QUIET.board.rows[2:])
    assert told(replace(QUIET, board=replace(QUIET.board, rows=small))) == [
        "A smaller network: trial 1"
    ]
    simple = (Baseline("SVM", 0.895, 100, 1.0),)
    (said,) = told(replace(QUIET, board=replace(QUIET.board, baselines=simple)))
    assert "a simple model (SVM) does as well" in said
    beyond = replace(QUIET.board, states=(("infeasible", 20), ("complete", 9)))
    assert told(replace(QUIET, board=beyond)) == ["Wider limits or a narrower space"]
    short = replace(QUIET.board, rows=QUIET.board.rows[:3])
    assert told(replace(QUIET, board=short)) == ["More trials: the search was short"]
