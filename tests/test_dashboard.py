"""The dashboard shows what the store has, quickly, and keeps no worker waiting."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from optuna_dashboard import save_note, wsgi
from prometheus_client.parser import text_string_to_metric_families

from athanor.dashboard.server import DashboardServer
from athanor.dashboard.study_pages import StudyPages
from search.job import Job
from search.job_spec import JobSpec
from search.store import StudyStore, WorkerIdentity
from tests.dashboards import SCORES, client_of, fill, filled_store, places_in, served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="module")
def filled(folder: Path) -> Iterator[tuple[StudyStore, Job]]:
    store, job = filled_store(folder)
    yield store, job
    store.close()


@pytest.fixture(scope="module")
def client(folder: Path, filled: object) -> Iterator[httpx.Client]:
    with served(folder) as server, client_of(server) as client:
        yield client


def fresh(folder: Path, **spec: Any) -> tuple[StudyStore, Job, StudyPages]:
    """Return a store of its own, and the pages of another process that only reads it."""
    store, job = filled_store(folder, **spec)
    pages = StudyPages(StudyStore(store.url, reads_only=True))
    pages.forget_deleted()
    return store, job, pages


def shown(pages: StudyPages, *, after: int = 0) -> dict[str, Any]:
    page = pages.study(pages.newest()[0], after=after)
    assert page is not None
    study: dict[str, Any] = json.loads(page.body)
    return study


def by_their_own_code(store: StudyStore, path: str) -> dict[str, Any]:
    """Return what optuna-dashboard's own application answers."""
    client = httpx.Client(transport=httpx.WSGITransport(wsgi(store.storage())))
    found: dict[str, Any] = client.get(f"http://localhost{path}").json()
    return found


def test_best_trial_and_curve_are_those_of_the_leaderboard(
    client: httpx.Client, filled: tuple[StudyStore, Job]
) -> None:
    store, job = filled
    best = store.trials(job).leaderboard()[0]
    (listed,) = client.get("/api/studies").json()["study_summaries"]
    assert listed["study_name"] == job.id
    (first,) = client.get(f"/api/studies/{listed['study_id']}").json()["best_trials"]
    assert first["number"] == best.number == 1  # of equal ones the first
    assert {int(v["step"]): v["value"] for v in first["intermediate_values"]} == best.curve


@pytest.mark.parametrize("spec", [{}, {"minimize": "macs"}], ids=["one", "two"])
def test_studies_are_written_as_by_the_dashboard_s_own_code(
    tmp_path: Path, spec: dict[str, str]
) -> None:
    store, job, pages = fresh(tmp_path, **spec)
    trials = store.trials(job)
    save_note(trials.study, "of the study")
    running = trials.ask()
    running.suggest_float("rate", 0.0, 1.0)
    running.suggest_categorical("width", [8, 16])
    save_note(running, "# A trial that runs" * 200)
    theirs = by_their_own_code(store, "/api/studies")
    assert json.loads(pages.list().body) == theirs
    for after in (0, 2, 5, 9):
        theirs = by_their_own_code(store, f"/api/studies/1?after={after}")
        ours = shown(pages, after=after)
        if spec:  # of equal ones theirs shows both
            theirs["best_trials"] = [t for t in theirs["best_trials"] if t["number"] == 1]
        assert ours == theirs
    assert len(shown(pages)["trials"]) == 5
    store.close()


def test_pages_follow_what_workers_and_people_write(tmp_path: Path) -> None:
    store, job, pages = fresh(tmp_path)
    trials = store.trials(job)
    assert len(shown(pages)["trials"]) == 4
    trial = trials.ask()
    assert shown(pages)["trials"][4]["state"] == "Running"
    trials.report(trial, epoch=1, score=0.95)
    assert len(shown(pages, after=4)["trials"][0]["intermediate_values"]) == 1
    trials.tell(trial, "complete", score=0.97)
    assert shown(pages)["best_trials"][0]["values"] == [0.97]
    save_note(trials.study, "later")
    assert shown(pages)["note"]["body"] == "later"
    stored = trials.study.get_trials(deepcopy=False)[1]
    prefix = f"dashboard:{stored._trial_id}:note"
    trials.study._storage.set_study_system_attr(1, f"{prefix}_ver", 1)
    trials.study._storage.set_study_system_attr(1, f"{prefix}_str:0", "on a trial that has ended")
    assert shown(pages)["trials"][1]["note"]["body"] == "on a trial that has ended"
    store.close()


def test_the_feasible_best_is_shown_as_best(tmp_path: Path) -> None:
    store, job, pages = fresh(tmp_path)
    trials = store.trials(job)
    trial = trials.ask()
    trial.set_constraint("too large", 1.0)
    trials.tell(trial, "complete", score=0.99)
    assert [trial["number"] for trial in shown(pages)["best_trials"]] == [1]
    store.close()


def test_what_has_not_changed_is_neither_read_nor_sent_again(
    client: httpx.Client, filled: tuple[StudyStore, Job]
) -> None:
    first = client.get("/api/studies/1")
    assert first.headers["content-encoding"] == "gzip"
    again = client.get("/api/studies/1", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get("/api/studies/1", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.json() == first.json()
    store, job = filled
    store.trials(job).study.set_user_attr("changed", 1)
    newer = client.get("/api/studies/1", headers={"If-None-Match": first.headers["etag"]})
    assert newer.status_code == 200 and newer.headers["etag"] != first.headers["etag"]


def test_a_study_is_read_once_more_after_a_change_and_then_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more, as what was written may show a moment late."""
    store, job, pages = fresh(tmp_path)
    monkeypatch.setattr("athanor.dashboard.study_pages.LOOK_SECONDS", 0.0)
    reads, read = list[int](), pages.storage.get_all_trials

    def counted(*arguments: Any, **options: Any) -> Any:
        reads.append(1)
        return read(*arguments, **options)

    monkeypatch.setattr(pages.storage, "get_all_trials", counted)
    for expected in (2, 4):
        for _ in range(4):
            shown(pages)
        assert len(reads) == expected
        store.trials(job).ask()
    assert len(shown(pages)["trials"]) == 6
    store.close()


def test_a_study_that_is_not_there_or_asked_for_wrongly_is_said(client: httpx.Client) -> None:
    assert client.get("/api/studies/77").status_code == 404
    assert client.get("/api/studies/1?after=-1").status_code == 400
    assert client.get("/api/studies/1?after=x").status_code == 400
    assert client.get("/jobs/none").status_code == 404
    assert client.get("/jobs/none/events").status_code == 404


def test_a_study_after_a_deleted_one_is_shown_with_its_own_trials(tmp_path: Path) -> None:
    """SQLite gives the numbers of the deleted study and its trials to the next ones."""
    store, deleted = filled_store(tmp_path)
    with served(tmp_path) as server, client_of(server) as client:
        (study,) = client.get("/api/studies").json()["study_summaries"]
        path = f"/api/studies/{study['study_id']}"
        first = client.get(path)
        assert len(first.json()["trials"]) == len(SCORES)
        assert len(client.get(f"/csv/{study['study_id']}").text.splitlines()) == 1 + len(SCORES)
        store.delete(deleted)
        following = store.jobs.create(JobSpec.parse({"data": "digits", "trials": 1}))
        trials = store.trials(following)
        trials.tell(trials.ask(), "complete", score=0.25)
        (study,) = client.get("/api/studies").json()["study_summaries"]
        assert study["study_name"] == following.id and path.endswith(f"/{study['study_id']}")
        shown = client.get(path, headers={"If-None-Match": first.headers["etag"]}).json()
        assert [trial["values"] for trial in shown["trials"]] == [[0.25]]
        assert len(client.get(f"/csv/{study['study_id']}").text.splitlines()) == 2
    store.close()


def test_a_page_that_is_read_for_long_keeps_no_worker_waiting(tmp_path: Path) -> None:
    store, job, pages = fresh(tmp_path)
    reading = pages._store._rdb.engine.connect()
    reading.exec_driver_sql("SELECT * FROM trials").fetchone()  # a transaction that stays open
    begin = time.monotonic()
    fill(store, job)
    assert time.monotonic() - begin < 30.0  # a lock would be waited for a minute
    reading.close()
    assert len(shown(pages)["trials"]) == 8
    store.close()


def test_the_overview_shows_jobs_and_workers(
    client: httpx.Client, filled: tuple[StudyStore, Job]
) -> None:
    store, job = filled
    worker = WorkerIdentity(id="host/1", host="host", device="cuda:0")
    lease = store.leases.claim(f"{job.id}/trial/5", owner=worker.id)
    store.beats.beat(worker, job.id, lease)
    failed = store.jobs.create(JobSpec.parse({"data": "digits", "name": "broken"}))
    store.jobs.stop(failed.id, state="failed", error="a <b>rule</b> was broken")
    page = client.get("/").text
    for text in (job.id, "searching", "host/1", "cuda:0", "trial 5", "0.9000", failed.id):
        assert text in page
    assert "a &lt;b&gt;rule&lt;/b&gt; was broken" in page
    store.jobs.delete(failed.id)


def test_a_job_s_page_has_its_leaderboard_and_links(
    client: httpx.Client, filled: tuple[StudyStore, Job], folder: Path
) -> None:
    store, job = filled
    page = client.get(f"/jobs/{job.id}").text
    assert page.index('id="trial-1"') < page.index('id="trial-3"') < page.index('id="trial-0"')
    assert "/dashboard/studies/1" in page and f"/jobs/{job.id}/report" not in page
    assert client.get(f"/jobs/{job.id}/report").status_code == 404
    report = places_in(folder).files(job.id).report
    report.parent.mkdir(parents=True)
    report.write_text("<h1>Report</h1>")
    store.jobs.tick(job.id)  # files alone are noticed within seconds
    assert f"/jobs/{job.id}/report" in client.get(f"/jobs/{job.id}").text
    answer = client.get(f"/jobs/{job.id}/report")
    assert answer.text == "<h1>Report</h1>"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_files_of_trials_run_nothing_and_are_for_nobody_else(
    client: httpx.Client, filled: tuple[StudyStore, Job], folder: Path
) -> None:
    store, job = filled
    root = places_in(folder).artifacts
    root.mkdir(parents=True, exist_ok=True)
    (root / "0a").write_text("<script>alert(1)</script>")
    meta = {"artifact_id": "0a", "filename": "page.html", "mimetype": "text/html"}
    trial = store.trials(job).study.get_trials(deepcopy=False)[1]
    store.trials(job).study._storage.set_study_system_attr(
        1, f"dashboard:artifacts:{trial._trial_id}:0a", json.dumps({**meta, "encoding": None})
    )
    (known,) = client.get("/api/studies/1").json()["trials"][1]["artifacts"]
    assert known["filename"] == "page.html"
    answer = client.get(f"/artifacts/1/{trial._trial_id}/0a")
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert "access-control-allow-origin" not in answer.headers
    assert client.get(f"/artifacts/1/{trial._trial_id}/0b").status_code == 404


def test_a_page_renews_itself_when_something_has_happened(
    client: httpx.Client, filled: tuple[StudyStore, Job]
) -> None:
    store, _ = filled
    with client.stream("GET", "/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in events.iter_lines() if line.startswith("data: "))
        before = json.loads(next(lines).removeprefix("data: "))
        job = store.jobs.create(JobSpec.parse({"data": "digits", "name": "newcomer"}))
        after = json.loads(next(lines).removeprefix("data: "))
        while job.id not in after:  # a clock may have moved on first
            after = json.loads(next(lines).removeprefix("data: "))
    assert job.id not in before
    store.jobs.delete(job.id)


def test_the_stream_of_a_job_ends_when_that_is_deleted(
    client: httpx.Client, filled: tuple[StudyStore, Job], capfd: pytest.CaptureFixture[str]
) -> None:
    store, _ = filled
    job = store.jobs.create(JobSpec.parse({"data": "digits", "name": "short-lived"}))
    with client.stream("GET", f"/jobs/{job.id}/events") as events:
        lines = events.iter_lines()
        assert job.id in next(lines)
        store.delete(job)
        assert list(lines) == [""]
    assert client.get(f"/jobs/{job.id}").status_code == 404
    assert capfd.readouterr().err == ""


def figures(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Return what Prometheus would read, by name and labels."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_are_those_of_the_store(tmp_path: Path) -> None:
    store, job = filled_store(tmp_path)
    store.jobs.create(JobSpec.parse({"data": "digits"}))
    key = f"{job.id}/trial/4"
    lease = store.leases.claim(key, owner="one")
    assert lease is not None
    with served(tmp_path) as server, client_of(server) as client:
        told = figures(client)
        assert told["athanor_queue",] == 1.0
        assert told["athanor_jobs", "searching"] == 1.0
        assert told["athanor_trials", job.id, "complete"] == 3.0
        assert told["athanor_trials", job.id, "pruned"] == 1.0
        assert told["athanor_epochs_total", job.id] == 2 + 2 + 1 + 2
        assert 0.0 < told["athanor_store_seconds",] < 30.0
        assert told["athanor_lease_takeovers_total", job.id] == 0.0
        store.leases.release(lease, reason="died")
        lease = store.leases.claim(key, owner="two")
        assert lease is not None
        assert figures(client)["athanor_lease_takeovers_total", job.id] == 1.0
        store.leases.finish(lease)
        assert figures(client)["athanor_lease_takeovers_total", job.id] == 1.0
    store.close()


def test_health_tells_whether_the_store_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = filled_store(tmp_path)
    with served(tmp_path) as server, client_of(server, token=None) as client:
        assert client.get("/readyz").status_code == 200
        _take_away(server, monkeypatch)
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        with client_of(server) as known:
            assert known.get("/").status_code == 503
    store.close()


def _take_away(server: DashboardServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection of a server's store fail from now on, as if its file were gone."""
    import sqlite3

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    server.store.close()
    monkeypatch.setattr(server.store._rdb.engine.dialect, "connect", fail)
    server.store._rdb.engine.dispose()


def test_small_answers_are_sent_at_once(tmp_path: Path) -> None:
    """Or else each waits 40 ms for the browser to acknowledge the one before."""
    store, _ = filled_store(tmp_path)
    with served(tmp_path) as server:
        assert server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    store.close()
