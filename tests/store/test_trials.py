"""Trials are asked for, reported, ended and reopened as the same."""

import itertools
from collections import Counter

import pytest
from optuna.trial import Trial

from search.job import Job
from search.job_spec import JobSpec
from search.pruning import PRUNINGS
from search.store import StudyStore, Trials
from search.store.trials import Ending
from spaces.limits import Complexity
from spaces.recipe import Candidate, Recipe
from tests.store.harness import CANDIDATE, PROCESSES, Processes, some_spec, wait_for_the_others


def suggest(trial: Trial) -> tuple[float, str]:
    return trial.suggest_float("x", 0.0, 1.0), trial.suggest_categorical("kind", ["a", "b"])


def finished(
    trials: Trials,
    ending: Ending,
    *scores: float,
    parameters: int | None = None,
    candidate: Candidate = CANDIDATE,
) -> int:
    """Run a trial that reports these scores; return its number."""
    trial = trials.ask()
    costs = None
    if parameters is not None:
        costs = Complexity(parameters=parameters, macs=9, activations=9)
    trials.describe(trial, candidate, costs)
    for epoch, score in enumerate(scores, start=1):
        trials.report(trial, epoch=epoch, score=score)
    trials.tell(trial, ending, score=scores[-1] if scores else None)
    return trial.number


def test_a_trial_is_recorded_from_ask_to_tell(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    (record,) = trials.records()
    assert (record.number, record.state, record.score) == (0, "running", None)
    trials.describe(trial, CANDIDATE, Complexity(parameters=12, macs=34, activations=56))
    trials.describe_pace(trial, train=0.25, predict=0.125)
    assert not trials.report(trial, epoch=1, score=0.5)
    assert not trials.report(trial, epoch=2, score=0.75)
    assert trials.records()[0].score == 0.75
    trials.tell(trial, "complete", score=0.75, seconds=1.5, files="trials/0/1", note="well")
    (record,) = trials.records()
    assert record.finished and record.state == "complete"
    assert record.curve == {1: 0.5, 2: 0.75} and record.candidate == CANDIDATE
    assert (record.parameters, record.macs) == (12, 34)
    assert (record.train_pace, record.predict_pace, record.seconds) == (0.25, 0.125, 1.5)
    assert (record.files, record.note) == ("trials/0/1", "well")


@pytest.mark.parametrize(
    "ending", ["pruned", "infeasible", "diverged", "out of memory", "out of time", "failed"]
)
def test_other_endings_are_told_apart_and_are_no_finish(
    store: StudyStore, job: Job, ending: Ending
) -> None:
    trials = store.trials(job)
    finished(trials, ending, 0.5)
    (record,) = trials.records()
    assert (record.state, record.finished, record.score) == (ending, False, 0.5)
    assert trials.running() == []


def test_an_epoch_at_a_high_rate_does_not_lower_what_the_rung_gave(
    store: StudyStore, job: Job
) -> None:
    trials = store.trials(job)
    finished(trials, "out of time", 0.82, 0.78)
    finished(trials, "complete", 0.82, 0.78)
    assert [record.score for record in trials.records()] == [0.82, 0.78]


def test_the_leaderboard_puts_finished_trials_first_and_then_the_best(
    store: StudyStore, job: Job
) -> None:
    trials = store.trials(job)
    low = finished(trials, "complete", 0.2, 0.6)
    stopped = finished(trials, "pruned", 0.9)
    high = finished(trials, "complete", 0.3, 0.8)
    finished(trials, "infeasible")
    copied = finished(trials, "copied", 0.7)
    trials.ask()
    board = [record.number for record in trials.leaderboard()]
    assert board == [high, copied, low, stopped]


def test_equal_scores_go_to_the_earlier_trial(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    made = [finished(trials, "complete", 0.5, parameters=size) for size in (300, 100, 200)]
    assert [record.number for record in trials.leaderboard()] == made


def test_a_running_trial_is_reopened_as_the_same_and_can_be_told(
    store: StudyStore, job: Job
) -> None:
    """Pins what we need of `optuna.trial.Trial(study, trial_id)`."""
    trial = store.trials(job).ask()
    values = suggest(trial)
    store.trials(job).report(trial, epoch=1, score=0.25)
    other = StudyStore(store.url)
    trials = other.trials(job)
    again = trials.open(trials.running()[0])
    assert again.number == trial.number and suggest(again) == values
    assert again.params == trial.params
    trials.report(again, epoch=2, score=0.5)
    trials.tell(again, "complete", score=0.5)
    other.close()
    (record,) = store.trials(job).records()
    assert (record.number, record.curve, record.score) == (0, {1: 0.25, 2: 0.5}, 0.5)


def test_a_reopened_trial_draws_what_its_first_holder_would_have(
    store: StudyStore, job: Job
) -> None:
    """A holder that dies between two suggestions changes nothing of what is drawn."""
    expected = suggest(store.trials(store.jobs.create(some_spec())).ask())
    store.trials(job).ask().suggest_float("x", 0.0, 1.0)
    other = StudyStore(store.url)
    again = other.trials(job).open(0)
    assert again.params == {"x": expected[0]} and suggest(again) == expected
    other.close()


def test_an_epoch_that_was_reported_keeps_its_first_score(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    trials.report(trial, epoch=1, score=0.5)
    trials.report(trial, epoch=1, score=0.9)
    again = trials.open(trials.running()[0])
    trials.report(again, epoch=1, score=0.1)
    assert trials.records()[0].curve == {1: 0.5}


def test_a_report_says_when_to_stop(store: StudyStore) -> None:
    trials = store.trials(store.jobs.create(some_spec(discard_after=1, keep=1)))
    first, second = trials.ask(), trials.ask()
    assert not trials.report(first, epoch=1, score=0.5, error=0.0)
    assert trials.report(second, epoch=1, score=0.4, error=0.0)
    assert not trials.report(first, epoch=2, score=0.1)


def test_who_takes_a_trial_over_at_its_rung_judges_it_as_its_first_holder_did(
    store: StudyStore,
) -> None:
    trials = store.trials(store.jobs.create(some_spec(discard_after=1, keep=1)))
    first, second = trials.ask(), trials.ask()
    assert not trials.report(first, epoch=1, score=0.5, error=0.0)
    assert not trials.report(second, epoch=1, score=0.9, error=0.0)
    again = trials.open(first.number)
    assert not trials.report(again, epoch=1, score=0.5, error=0.0)
    third = trials.ask()
    assert trials.report(third, epoch=1, score=0.4, error=0.0)
    assert trials.report(trials.open(third.number), epoch=1, score=0.4, error=0.0)


def test_every_pruning_stops_what_is_worse_and_keeps_its_word(store: StudyStore) -> None:
    for pruning in sorted(set(PRUNINGS) - {"none", "discard"}):
        spec = some_spec(discard_after=None, pruning=pruning, search_epochs=9)
        trials = store.trials(store.jobs.create(spec))
        for _ in range(5):
            good = trials.ask()
            for epoch in range(1, 10):
                trials.report(good, epoch=epoch, score=0.8 + epoch / 100)
            trials.tell(good, "complete", score=0.89)
        stopped = 0
        for _ in range(4):  # brackets of Hyperband differ in how soon they judge
            weak = trials.ask()
            verdicts: list[bool] = []
            while len(verdicts) < 9 and not any(verdicts):
                epoch = len(verdicts) + 1
                verdicts.append(trials.report(weak, epoch=epoch, score=0.3 - epoch / 100))
                again = trials.open(weak.number)
                assert trials.report(again, epoch=epoch, score=0.3) is verdicts[-1]
            stopped += any(verdicts)
            trials.tell(weak, "pruned")
        assert stopped >= 2, pruning


@pytest.mark.parametrize("ending", ["complete", "pruned", "failed"])
def test_a_trial_ends_once(store: StudyStore, job: Job, ending: Ending) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    trials.tell(trial, "complete", score=0.5)
    before = trials.records()
    with pytest.raises(ValueError):
        trials.tell(trial, ending, score=0.9)
    assert trials.records() == before


def test_a_complete_trial_needs_a_score(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    trial = trials.ask()
    with pytest.raises(ValueError):
        trials.tell(trial, "complete")
    assert trials.records()[0].state == "running"


def test_only_a_complete_trial_of_an_equal_candidate_is_equal(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    other = CANDIDATE.model_copy(update={"recipe": Recipe(epochs=3)})
    finished(trials, "pruned", 0.5)
    finished(trials, "complete", 0.5, candidate=other)
    assert trials.equal(CANDIDATE) is None
    number = finished(trials, "complete", 0.5)
    finished(trials, "copied", 0.5)
    found = trials.equal(CANDIDATE)
    assert found is not None and found.number == number


def test_jobs_have_studies_of_their_own(store: StudyStore, job: Job) -> None:
    other = store.jobs.create(some_spec())
    store.trials(job).ask()
    assert store.trials(other).records() == []


def test_equal_parameters_are_queued_once(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    for _ in range(2):
        trials.enqueue({"x": 0.25})
    assert [record.state for record in trials.records()] == ["waiting"]
    assert suggest(trials.ask())[0] == 0.25


def open_study(url: str, job: Job) -> int:
    store = StudyStore(url)
    number = store.trials(job).ask().number
    store.close()
    return number


def test_processes_that_open_a_new_study_at_once_share_it(
    processes: Processes, store: StudyStore, job: Job
) -> None:
    numbers = processes.run(open_study, store.url, job)
    assert sorted(numbers) == list(range(PROCESSES))


QUEUED = 60
ASKED = QUEUED // PROCESSES + 1  # of each process: one more than there are for it


def ask_queued(url: str, job: Job) -> list[tuple[int, float]]:
    store = StudyStore(url)
    trials = store.trials(job)
    wait_for_the_others()
    taken = [trials.ask() for _ in range(ASKED)]
    values = [(trial.number, trial.suggest_float("x", 0.0, 100.0)) for trial in taken]
    store.close()
    return values


def test_processes_take_each_queued_trial_exactly_once(
    processes: Processes, store: StudyStore, job: Job
) -> None:
    trials = store.trials(job)
    for number in range(QUEUED):
        trials.enqueue({"x": float(number)})
    taken = list(itertools.chain(*processes.run(ask_queued, store.url, job)))
    numbers = Counter(number for number, _ in taken)
    assert numbers == {number: 1 for number in range(PROCESSES * ASKED)}
    queued = {number: value for number, value in taken if number < QUEUED}
    assert queued == {number: float(number) for number in range(QUEUED)}


def test_a_job_after_a_deleted_one_has_trials_of_its_own_for_everybody(store: StudyStore) -> None:
    """SQLite gives the numbers of what was deleted to what comes next."""
    other = StudyStore(store.url)
    deleted = store.jobs.create(some_spec())
    for each in (store, other):
        each.trials(deleted).ask()
    store.trials(deleted).tell(store.trials(deleted).ask(), "failed")
    assert len(other.trials(deleted).records()) == 3
    store.delete(deleted)
    following = store.jobs.create(some_spec())
    store.trials(following).ask()
    assert [record.state for record in other.trials(following).records()] == ["running"]
    other.close()


def test_energy_is_added_up_for_each_job(store: StudyStore, job: Job) -> None:
    trials = store.trials(job)
    assert trials.joules() is None
    trials.add_joules(2.5)
    trials.add_joules(4.0)
    assert trials.joules() == 6.5
    again = store.jobs.create(JobSpec.parse({"data": "digits", "lands": job.id}))
    assert store.trials(again).joules() is None
