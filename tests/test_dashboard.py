"""The Optuna dashboard shows what the leaderboard shows."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.dashboard import LOOPBACK, make_dashboard
from search.job import Job, JobSpec
from search.store import StudyStore, Trials
from spaces.errors import InputError

SCORES = {0: [0.5, 0.7], 1: [0.6, 0.9], 2: [0.4], 3: [0.8, 0.9]}


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    """A store with four trials, one of them pruned."""
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({"data": "digits", "trials": 4}))
    fill(store.trials(job))
    return store


def fill(trials: Trials) -> None:
    """Run trials that report the scores above."""
    for scores in SCORES.values():
        trial = trials.ask()
        for epoch, score in enumerate(scores, start=1):
            trials.report(trial, epoch=epoch, score=score)
        if len(scores) > 1:
            trials.tell(trial, "complete", score=scores[-1])
        else:
            trials.tell(trial, "pruned")


@pytest.fixture
def address(store: StudyStore) -> Iterator[str]:
    """The address of a dashboard that is being served."""
    with make_dashboard(store, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()
        thread.join()


def get(url: str) -> Any:
    """Read JSON from the dashboard."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_best_trial_and_curve_are_those_of_the_leaderboard(store: StudyStore, address: str) -> None:
    job: Job = store.jobs.list()[0]
    best = store.trials(job).leaderboard()[0]
    studies = get(f"{address}/api/studies")["study_summaries"]
    assert [study["study_name"] for study in studies] == [job.id]
    detail = get(f"{address}/api/studies/{studies[0]['study_id']}")
    shown = detail["best_trials"][0]
    assert shown["number"] == best.number == 1
    assert {int(v["step"]): v["value"] for v in shown["intermediate_values"]} == best.curve


def test_a_study_after_a_deleted_one_is_shown_with_its_own_trials(
    store: StudyStore, address: str
) -> None:
    deleted = store.jobs.list()[0]
    study = get(f"{address}/api/studies")["study_summaries"][0]["study_id"]
    assert len(get(f"{address}/api/studies/{study}")["trials"]) == len(SCORES)
    store.delete(deleted)
    following = store.jobs.create(JobSpec.parse({"data": "digits", "trials": 1}))
    trials = store.trials(following)
    trials.tell(trials.ask(), "complete", score=0.25)
    shown = get(f"{address}/api/studies")["study_summaries"]
    assert [summary["study_name"] for summary in shown] == [following.id]
    detail = get(f"{address}/api/studies/{shown[0]['study_id']}")
    assert [trial["values"] for trial in detail["trials"]] == [[0.25]]


def test_only_this_machine_can_reach_it(store: StudyStore) -> None:
    with make_dashboard(store, port=0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_said(store: StudyStore) -> None:
    with (
        make_dashboard(store, port=0) as server,
        pytest.raises(InputError, match=str(server.server_port)),
    ):
        make_dashboard(store, port=server.server_port)
