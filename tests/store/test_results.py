"""Results of folds and openings of test sets are written once."""

import pytest

from search.folds import JUDGING_FOLD
from search.job import Job
from search.row_sketch import RowSketch
from search.store import StudyStore, TestOpening
from tests.store.harness import THREADS, in_threads, some_spec


def test_folds_are_planned_best_finalist_first_and_only_once(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7, 3], folds=(0, 2))
    store.folds.plan(job.id, trials=[1, 2, 3], folds=range(5))
    tasks = store.folds.all(job.id)
    order = [(task.place, task.trial, task.fold) for task in tasks]
    assert order == [(0, 7, 0), (0, 7, 2), (1, 3, 0), (1, 3, 2)]
    assert all(task.pending and not task.done and task.score is None for task in tasks)


def test_many_that_plan_at_once_plan_once(store: StudyStore, job: Job) -> None:
    in_threads(lambda number: store.folds.plan(job.id, trials=[number], folds=range(3)))
    assert len({task.trial for task in store.folds.all(job.id)}) == 1
    assert len(store.folds.all(job.id)) == 3


def test_jobs_have_folds_of_their_own(store: StudyStore, job: Job) -> None:
    other = store.jobs.create(some_spec())
    store.folds.plan(job.id, trials=[0], folds=range(2))
    assert store.folds.all(other.id) == []
    store.folds.plan(other.id, trials=[0], folds=range(3))
    store.folds.record(store.folds.all(other.id)[0], files="f", score=0.5, report={})
    assert [task.pending for task in store.folds.all(job.id)] == [True, True]


def test_the_first_result_of_a_fold_counts(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7], folds=range(2))
    task = store.folds.all(job.id)[1]
    store.folds.record(task, files="7-1/1", score=0.9, report={"epochs": 3})
    store.folds.record(task, files="7-1/2", score=0.1, report={})
    store.folds.give_up(task, reason="no time left")
    first, second = store.folds.all(job.id)
    assert first.pending and second.done
    assert (second.files, second.score, second.report) == ("7-1/1", 0.9, {"epochs": 3})


def test_a_fold_that_was_given_up_stays_so_and_says_why(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7], folds=range(1))
    (task,) = store.folds.all(job.id)
    store.folds.give_up(task, reason="no time left")
    store.folds.record(task, files="7-0/1", score=0.9, report={})
    (task,) = store.folds.all(job.id)
    assert not task.done and not task.pending and task.files is None
    assert (task.state, task.report) == ("given up", {"reason": "no time left"})
    store.folds.reopen(task)  # unless somebody says otherwise
    (task,) = store.folds.all(job.id)
    assert task.pending and task.report is None
    store.folds.record(task, files="7-0/2", score=0.9, report={})
    store.folds.reopen(task)
    assert store.folds.all(job.id)[0].done


def test_of_folds_that_are_given_up_at_once_one_is_spared(store: StudyStore, job: Job) -> None:
    store.folds.plan(job.id, trials=[7, 3], folds=(JUDGING_FOLD, 1, 2, 3, 4))
    tasks = [task for task in store.folds.all(job.id) if task.fold != JUDGING_FOLD]
    assert len(tasks) == THREADS
    given_up = in_threads(lambda number: store.folds.spare(tasks[number], reason="no time left"))
    left = [t for t in store.folds.all(job.id) if t.pending and t.fold != JUDGING_FOLD]
    assert given_up.count(False) == len(left) == 1
    heat = store.folds.all(job.id)[0]
    assert heat.fold == JUDGING_FOLD and store.folds.spare(heat, reason="no time left")
    store.folds.record(left[0], files="f", score=0.5, report={})
    assert not any(t.pending for t in store.folds.all(job.id) if t.trial == heat.trial)


T = RowSketch("t")


def opened(
    store: StudyStore, job: str, fingerprint: str, *, by: str = "me", again: bool = False
) -> TestOpening:
    rows = RowSketch(fingerprint)
    found = store.test.open(job, rows=rows, by=by, reason="landing", again=again)
    assert found is not None
    return found


def test_a_job_opens_its_test_set_once(store: StudyStore) -> None:
    first = opened(store, "job", "t")
    again = opened(store, "job", "t", by="you")
    assert first == again and store.test.all(T) == [first]
    assert (first.job_id, first.opened_by, first.reason) == ("job", "me", "landing")
    assert first.score is None and first.opened_at > 0


def test_another_job_opens_it_again_only_if_it_is_told_to(store: StudyStore) -> None:
    first = opened(store, "job", "t")
    assert store.test.open("other", rows=T, by="me", reason="") is None
    assert store.test.all(T) == [first]
    second = opened(store, "other", "t", again=True)
    assert opened(store, "other", "t") == second
    assert store.test.all(T) == [first, second]


def test_another_test_set_is_another_opening(store: StudyStore) -> None:
    opened(store, "job", "t")
    other = opened(store, "job", "u")
    assert store.test.all(RowSketch("u")) == [other]
    assert store.test.all(RowSketch("nothing")) == []


@pytest.mark.parametrize(("first", "sealed"), [(0, True), (400, True), (700, False)])
def test_a_test_set_with_half_of_the_rows_of_another_is_the_same(
    store: StudyStore, first: int, sealed: bool
) -> None:
    numbers = [str(number).encode() for number in range(2000)]
    once, later = RowSketch.of(numbers[:1000]), RowSketch.of(numbers[first : first + 1000][::-1])
    opening = store.test.open("job", rows=once, by="me", reason="landing")
    found = store.test.open("other", rows=later, by="me", reason="landing")
    assert (found is None) is sealed
    assert store.test.all(once) == [opening] and opening is not None and opening.rows == once
    assert (opening in store.test.all(later)) is sealed


def test_many_that_open_a_test_set_at_once_open_it_once(store: StudyStore) -> None:
    found = in_threads(lambda number: opened(store, "job", "t", by=str(number)).id)
    assert len(set(found)) == 1 and len(store.test.all(T)) == 1


def test_of_many_jobs_that_would_open_a_test_set_at_once_one_does(store: StudyStore) -> None:
    found = in_threads(lambda number: store.test.open(f"job-{number}", rows=T, by="me", reason=""))
    assert sum(each is not None for each in found) == len(store.test.all(T)) == 1


def test_a_look_is_an_opening_of_its_own(store: StudyStore) -> None:
    first = opened(store, "job", "t")
    store.test.look("job", rows=T, by="you", score=0.5)
    found = store.test.all(T)
    assert found[0] == first == opened(store, "job", "t")
    assert [(each.opened_by, each.score) for each in found] == [("me", None), ("you", 0.5)]


def test_an_opening_is_scored_once(store: StudyStore) -> None:
    first = opened(store, "job", "t")
    other = opened(store, "other", "t", again=True)
    store.test.score(first, score=0.75)
    store.test.score(first, score=0.99)
    assert [opening.score for opening in store.test.all(T)] == [0.75, None]
    assert opened(store, "job", "t").score == 0.75
    assert other.score is None
