"""Progress on a terminal, in a pipe and as JSON: tidy at any width, with any number of workers."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from athanor.doings import doing_text, spread
from athanor.outlook import Outlook
from athanor.progress import Progress
from athanor.progress_view import ProgressView, curve_line, line, panel, workers_line
from athanor.watching import watch_job
from search.job import Job
from search.store import FoldTask, StudyStore, WorkerIdentity, WorkerRecord
from spaces.errors import JobError
from tests.dashboards import filled_store
from tests.store.harness import PLAN

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f]")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudyStore, Job, Path]]:
    folder = tmp_path_factory.mktemp("progress")
    store, job = filled_store(folder, budget="10m")
    yield store, job, folder
    store.close()


@pytest.fixture
def progress(filled: tuple[StudyStore, Job, Path]) -> Progress:
    return Progress.read(filled[0], filled[1].id)


def workers(count: int, doing: str = "job/trial/{}") -> list[WorkerRecord]:
    return [
        WorkerRecord(f"host/{n}", "host", "cpu", "job", doing.format(n), unfit={}, silent=0.1)
        for n in range(count)
    ]


def drawn(progress: Progress, alive: list[WorkerRecord], *, width: int) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    console.print(panel(progress, alive, console=console))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 80, 300])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_the_panel_fits_any_terminal(progress: Progress, width: int, count: int) -> None:
    lines = drawn(progress, workers(count), width=width)
    assert len(lines) <= 10
    assert max(len(each.rstrip()) for each in lines) <= width
    labels = {each.split()[0] for each in lines if not each.startswith(" ")}
    assert {"phase", "budget", "trials", "best", "workers"} <= labels  # however narrow


def test_the_panel_says_what_there_is_to_know(progress: Progress) -> None:
    text = "\n".join(drawn(progress, workers(2), width=200))
    for part in (
        progress.job.id,
        "searching",
        "of 10:00",
        "3 complete, 1 pruned",
        "0.9000 (trial 1: S8/1",
        "2: trial 0; trial 1",
        "0.7000 ▁",
    ):
        assert part in text


def test_many_workers_are_counted_by_what_they_do() -> None:
    many = [*workers(150), *workers(40, "job/fold/{}/1"), *workers(10, "job/trials")]
    assert workers_line(many) == "200: 150 at trials, 40 at folds, 10 choosing a trial"
    assert workers_line([]) == "none"


@pytest.mark.parametrize(
    ("doing", "words"),
    [
        ("job/trial/7", "trial 7"),
        ("job/fold/7/2", "trial 7, fold 2"),
        ("job/baseline/SVM", "baseline SVM"),
        ("job/assemble", "building and verifying the ensemble"),
        ("job/something", "something"),
        (None, "between two tasks"),
    ],
)
def test_what_a_worker_does_is_read_from_its_lease(doing: str | None, words: str) -> None:
    (worker,) = workers(1)
    assert doing_text(replace(worker, doing=doing)) == words
    assert doing_text(replace(worker, doing=None, job_id=None)) == "waiting for work"


def test_a_curve_has_its_ends() -> None:
    assert curve_line([0.5, 0.75, 1.0]) == "0.5000 ▁▄█ 1.0000"
    assert curve_line([0.5]) == curve_line([]) == curve_line([0.5, 0.5]) == ""
    long = curve_line([n / 1000 for n in range(1001)])
    assert len(long) < 50 and "▁▁" in long and long.endswith("█ 1.0000")


def test_few_of_many_values_are_kept_with_both_ends() -> None:
    assert spread([3.0, 1.0, 2.0], 5) == [3.0, 1.0, 2.0]
    assert spread([float(n) for n in range(101)], 3) == [0.0, 50.0, 100.0]
    assert spread([1.0], 3) == [1.0] and spread([], 3) == []


def resized(progress: Progress, *widths: int) -> str:
    """Return what a terminal gets whose width changes while the view is up."""
    file = io.StringIO()
    console = Console(file=file, width=widths[0], height=30, force_terminal=True)
    with ProgressView(console, quiet=False) as view:
        for width in widths:
            console.width = width
            view.show(progress, workers(3))
    return file.getvalue()


def test_a_terminal_that_gets_narrower_is_cleared_of_folded_lines(progress: Progress) -> None:
    clear = "\x1b[2J"
    assert clear not in resized(progress, 80, 80, 120)
    assert resized(progress, 120, 60, 60, 40).count(clear) == 2


def test_a_pipe_gets_a_line_now_and_then_without_control_characters(progress: Progress) -> None:
    file = io.StringIO()
    with ProgressView(Console(file=file, width=120), quiet=False) as view:
        for _ in range(5):
            view.show(progress, workers(200))
    assert file.getvalue() == f"{line(progress, workers(200))}\n"
    assert not CONTROL.search(file.getvalue())
    assert "200 workers" in file.getvalue()


def test_nothing_is_said_if_asked_for_nothing(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.StringIO()
    with ProgressView(Console(file=file, force_terminal=True), quiet=True) as view:
        view.show(progress, workers(1))
        view.say("the store is back")
    assert (file.getvalue(), capsys.readouterr().err) == ("", "the store is back\n")


def ahead(progress: Progress, **changes: Any) -> Outlook:
    return Outlook.of(replace(progress, job=replace(progress.job, **changes)))


def test_the_outlook_follows_the_pace_so_far(progress: Progress) -> None:
    timed = {"plan": PLAN.model_copy(update={"search_seconds": 180.0})}
    endless = progress.job.spec.model_copy(update={"trials": None})
    job = {"seconds_used": 100.0, "phases": {"searching": 20.0}}  # 4 trials in 80 seconds
    found = ahead(progress, **timed, spec=endless, **job)
    assert (found.trials, found.phase_seconds, found.seconds) == (4, 80.0, 500.0)
    assert found.text() == "about 4 more trials in 1:20, all done within 8:20"
    counted = ahead(progress, **timed, **job)  # 6 trials are wanted
    assert (counted.trials, counted.phase_seconds) == (2, 40.0)
    unlimited = ahead(progress, **job)
    assert (unlimited.trials, unlimited.phase_seconds) == (2, 40.0)


def test_the_outlook_of_a_landing_counts_folds(progress: Progress) -> None:
    planned = FoldTask("job", 1, 1, 0, state="planned", files=None, score=None, report=None)
    folds = [replace(planned, state="done")] * 2 + [planned] * 3
    landing = replace(progress, folds=folds)
    found = ahead(landing, state="landing", seconds_used=300.0, phases={"landing": 200.0})
    assert (found.folds, found.phase_seconds) == (3, 150.0)
    assert found.text() == "3 more folds in 2:30, all done within 5:00"


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_nothing_is_to_come_of_a_job_that_has_ended(progress: Progress, state: str) -> None:
    assert ahead(progress, state=state).text() == ""


def test_watch_ends_with_the_job_and_says_how_that_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, job = filled_store(tmp_path)
    store.jobs.stop(job.id, state="failed", error="the data are gone")

    def watched(*, quiet: bool = False, as_json: bool = False) -> str:
        reader = StudyStore(store.url, reads_only=True)
        assert watch_job(reader, job.id, quiet=quiet, as_json=as_json) == 1
        return capsys.readouterr().out

    told = watched()
    assert "failed" in told and "the data are gone" in told and not CONTROL.search(told)
    (row,) = map(json.loads, watched(as_json=True).splitlines())
    assert (row["job"], row["state"]) == (job.id, "failed")
    assert row["trials"] == {"complete": 3, "pruned": 1}
    assert watched(quiet=True) == ""
    with pytest.raises(JobError, match="no job 'none'"):
        watch_job(store, "none", quiet=False, as_json=False)
    store.close()


def test_watch_tells_json_when_something_happens_and_stops_by_ctrl_c(tmp_path: Path) -> None:
    store, job = filled_store(tmp_path)
    command = [sys.executable, "-m", "athanor", "watch", job.id, "--json"]
    with subprocess.Popen(
        [*command, "--store", store.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = json.loads(process.stdout.readline())
        store.trials(job).ask()
        second = json.loads(process.stdout.readline())
        store.beats.beat(WorkerIdentity("host/1", "host", "cpu"), job.id, None)
        third = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert [row["trials"].get("running", 0) for row in (first, second, third)] == [0, 1, 1]
    assert [len(row["workers"]) for row in (first, second, third)] == [0, 0, 1]
    store.close()


def test_a_real_terminal_is_left_as_it_was(tmp_path: Path) -> None:
    store, job = filled_store(tmp_path)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "athanor", "watch", job.id, "--store", store.url]
    process = subprocess.Popen(
        command, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"}
    )
    os.close(slave)
    seen = b""
    while b"searching" not in seen:
        seen += os.read(master, 65536)
    store.jobs.stop(job.id, state="cancelled")
    try:
        while part := os.read(master, 65536):
            seen += part
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert process.wait(30) == 1
    assert seen.count(b"\x1b[?25l") == seen.count(b"\x1b[?25h") == 1  # cursor hidden, shown
    store.close()
