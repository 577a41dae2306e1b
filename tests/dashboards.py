"""A dashboard that is served, in a thread of the test's own process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from athanor.dashboard.server import DashboardOptions, DashboardServer
from athanor.places import Places
from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore
from spaces.limits import Complexity
from tests.store.harness import CANDIDATE, PLAN

TOKEN = "a-token-for-tests-0123456789"
SCORES: dict[int, list[float]] = {0: [0.5, 0.7], 1: [0.6, 0.9], 2: [0.4], 3: [0.8, 0.9]}
START_SECONDS = 30.0  # only a hang takes as long


def places_in(folder: Path) -> Places:
    return Places.of(f"sqlite:///{folder}/athanor.db", folder / "artifacts")


def filled_store(folder: Path, **spec: Any) -> tuple[StudyStore, Job]:
    """Return a store with a job that is searching: four trials have ended, one was discarded."""
    store = StudyStore(f"sqlite:///{folder}/athanor.db", create=True)
    job = store.jobs.create(JobSpec.parse({"data": "digits", "trials": 6, **spec}))
    store.jobs.move(job.id, before="queued", after="preparing")
    store.jobs.set_plan(job.id, PLAN)
    job = store.jobs.get(job.id)
    fill(store, job)
    return store, job


def fill(store: StudyStore, job: Job) -> None:
    """Run trials that report the scores above."""
    trials = store.trials(job)
    for scores in SCORES.values():
        trial = trials.ask()
        trial.suggest_float("rate", 0.0, 1.0)
        trial.suggest_categorical("width", [8, 16])
        trials.describe(
            trial, CANDIDATE, Complexity(parameters=5000, macs=1_000_000, activations=900)
        )
        for epoch, score in enumerate(scores, start=1):
            trials.report(trial, epoch=epoch, score=score)
        if len(scores) > 1:
            trials.tell(trial, "complete", score=scores[-1])
        else:
            trials.tell(trial, "pruned")


@contextmanager
def served(folder: Path, options: DashboardOptions | None = None) -> Iterator[DashboardServer]:
    """Serve the store of a folder with the token above, on a free port."""
    token = folder / "token"
    token.write_text(f"{TOKEN}\n")
    chosen = replace(options or DashboardOptions(), port=0, token_file=token)
    server = DashboardServer(places_in(folder), chosen)
    thread = threading.Thread(target=server.serve_until_interrupted)
    thread.start()
    try:
        _wait_for(server)
        yield server
    finally:
        server.should_exit = True
        thread.join()


def _wait_for(server: DashboardServer) -> None:
    transport = httpx.HTTPTransport(retries=10)
    with httpx.Client(transport=transport, timeout=START_SECONDS) as client:
        assert client.get(f"{server.address}/healthz").text == "ok\n"


def client_of(server: DashboardServer, *, token: str | None = TOKEN, **more: str) -> httpx.Client:
    """Return a client that sends the token, and other headers, with each request."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=server.address, headers={**headers, **more}, timeout=START_SECONDS)
