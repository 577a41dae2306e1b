"""Finalists race on the same images, and the best of them goes on."""

from dataclasses import replace

import numpy as np
import pytest

from search.folds import JUDGING_FOLD
from search.marks import Marks
from search.race import BEATEN, DRAWS, RIGHT, Race, Thrift
from search.store import FoldTask

IMAGES = 1000


def runner(
    trial: int, fold: int = JUDGING_FOLD, *, accuracy: float | None = None, lost: bool = False
) -> FoldTask:
    """Return a finalist on a fold: planned, done with the first images right, or given up."""
    right = np.arange(IMAGES) < (accuracy or 0.0) * IMAGES
    return FoldTask(
        job_id="job",
        trial=trial,
        fold=fold,
        place={7: 0, 0: 1, 3: 2}[trial],
        state="given up" if lost else "planned" if accuracy is None else "done",
        files=None,
        score=accuracy,
        report=None if accuracy is None else {RIGHT: Marks(right).text},
    )


def field(*heats: FoldTask, folds: int = 2) -> list[FoldTask]:
    """Return each finalist on the judging fold as given, and planned on the others."""
    numbers = range(JUDGING_FOLD + 1, JUDGING_FOLD + 1 + folds)
    return [task for heat in heats for task in (heat, *(runner(heat.trial, n) for n in numbers))]


def test_a_race_is_open_on_the_judging_fold_alone() -> None:
    for tasks in (field(runner(7), runner(0)), field(runner(7, accuracy=0.9), runner(0))):
        race = Race(tasks, survivors=1)
        assert race.undecided and race.beaten == []
        assert race.open(tasks) == [task for task in tasks if task.fold == JUDGING_FOLD]


@pytest.mark.parametrize(
    ("first", "second", "loser"),
    [(0.91, 0.92, 7), (0.92, 0.91, 0), (0.92, 0.92, 0), (0.917, 0.92, 7), (0.919, 0.92, 0)],
    ids=["the second wins", "the first wins", "equals", "by three images", "one image is luck"],
)
def test_a_race_is_won_by_who_has_more_images_right(
    first: float, second: float, loser: int
) -> None:
    tasks = field(runner(7, accuracy=first), runner(0, accuracy=second))
    race = Race(tasks, survivors=1)
    assert not race.undecided and race.open(tasks) == tasks
    assert [(task.trial, task.fold) for task in race.beaten] == [(loser, 1), (loser, 2)]


def test_a_finalist_that_cannot_be_trained_has_lost_unless_no_other_can() -> None:
    lost = runner(7, lost=True)
    race = Race(field(lost, runner(0)), survivors=1)
    assert race.undecided and race.beaten == []
    for other, loser in ((runner(0, accuracy=0.1), 7), (runner(0, lost=True), 0)):
        race = Race(field(lost, other), survivors=1)
        assert not race.undecided and {task.trial for task in race.beaten} == {loser}


def test_several_survive_a_race_of_more() -> None:
    heats = [runner(7, accuracy=0.91), runner(0, accuracy=0.92), runner(3, accuracy=0.93)]
    tasks = field(*heats)
    race = Race(tasks, survivors=2)
    assert {task.trial for task in race.beaten} == {7}
    places = [(task.trial, task.fold) for task in race.ranked(tasks)]
    assert places == [(trial, fold) for trial in (3, 0, 7) for fold in range(3)]


@pytest.mark.parametrize("failed", [1, 2])
def test_where_all_who_won_fail_the_next_ones_are_revived(failed: int) -> None:
    """One of two that survive is enough; of none, the third is trained after all."""
    heats = [runner(7, accuracy=0.91), runner(0, accuracy=0.92), runner(3, accuracy=0.93)]
    won = (3, 0)[:failed]
    tasks = []
    for task in field(*heats):
        if task.fold != JUDGING_FOLD and task.trial in won:
            task = replace(task, state="given up", report={"reason": "out of memory"})
        elif task.fold != JUDGING_FOLD and task.trial == 7:
            task = replace(task, state="given up", report={"reason": BEATEN})
        tasks.append(task)
    revived = Race(tasks, survivors=2).revived
    assert [(t.trial, t.fold) for t in revived] == ([] if failed == 1 else [(7, 1), (7, 2)])
    again = [replace(t, state="planned", report=None) if t in revived else t for t in tasks]
    assert Race(again, survivors=2).revived == [] == Race(again, survivors=2).beaten


def test_without_a_race_every_fold_is_open() -> None:
    tasks = [runner(trial, fold) for trial in (7, 0) for fold in (1, 2)]
    race = Race(tasks, survivors=2)
    assert not race.undecided and race.open(tasks) == tasks and race.beaten == []
    assert race.ranked(tasks) == tasks


@pytest.mark.parametrize(
    ("tolerance", "order"), [(0.0, [3, 0, 7]), (1.5, [0, 3, 7]), (30.0, [7, 0, 3])]
)
def test_where_a_cost_counts_the_cheapest_near_the_best_wins(
    tolerance: float, order: list[int]
) -> None:
    """One standard error of a difference of n images, all in favour of one, is about root n."""
    heats = [runner(7, accuracy=0.80), runner(0, accuracy=0.929), runner(3, accuracy=0.93)]
    tasks = field(*heats)
    thrift = Thrift(costs={7: 1.0, 0: 5.0, 3: 9.0}, tolerance=tolerance)
    race = Race(tasks, survivors=1, thrift=thrift)
    assert [task.trial for task in race.ranked(heats)] == order
    assert {task.trial for task in race.beaten} == set(order[1:])


def test_a_finalist_that_could_not_be_trained_is_last_however_cheap() -> None:
    thrift = Thrift(costs={7: 1.0, 0: 5.0, 3: 9.0}, tolerance=9.0)
    heats = [runner(7, lost=True), runner(0, accuracy=0.1), runner(3, accuracy=0.9)]
    race = Race(field(*heats), survivors=1, thrift=thrift)
    assert [task.trial for task in race.ranked(heats)] == [3, 0, 7]


def test_where_no_finalist_could_be_raced_the_search_s_ranking_holds() -> None:
    thrift = Thrift(costs={7: 1.0, 0: 5.0, 3: 9.0}, tolerance=1.0, searched=(4, 3, 0))
    heats = [runner(7, lost=True), runner(0, lost=True), runner(3, lost=True)]
    race = Race(field(*heats), survivors=1, thrift=thrift)
    assert [task.trial for task in race.ranked(heats)] == [3, 0, 7]
    half = [runner(7, accuracy=0.5), *heats[1:]]
    ranked = Race(field(*half), survivors=1, thrift=thrift).ranked(half)
    assert [task.trial for task in ranked] == [7, 3, 0]


@pytest.mark.parametrize(("paired", "winner"), [(True, 0), (False, 7)])
def test_by_another_metric_scores_of_the_same_drawn_rows_are_compared(
    paired: bool, winner: int
) -> None:
    """A lead of 0.01 counts where both go up and down together, and is luck where they do not."""
    random = np.random.default_rng(0)
    first = random.normal(0.80, 0.02, 100)
    other = 0.01 + (first if paired else random.normal(0.80, 0.02, 100))
    draws = [[None, *each.tolist()] for each in (first, other)]  # one has no score: it is left out
    heats = [
        replace(runner(trial, accuracy=score), report={DRAWS: drawn})
        for trial, score, drawn in zip((7, 0), (0.80, 0.81), draws, strict=True)
    ]
    (loser,) = {task.trial for task in Race(field(*heats), survivors=1).beaten}
    assert loser == 7 - winner
