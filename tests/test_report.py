"""A report says what the store says, is one file that needs no network, and never opens a test."""

import base64
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser
from typer.testing import CliRunner

from athanor.cli import app
from athanor.places import Places
from athanor.report.html import render_html
from athanor.report.markdown import render_markdown
from athanor.report.pictures import Gallery, gallery_of
from athanor.report.reading import open_source, read_report
from athanor.report.values import Report
from athanor.report.writing import format_of, write_report
from search import combining
from search.job import Job
from search.job_spec import JobSpec
from search.metrics import score_text
from search.store import StudyStore
from spaces.errors import InputError, JobError
from tests.browsers import PHONE, WAIT, complaints
from tests.dashboards import TOKEN, served
from tests.small_job import CACHE, prepared, worked
from workers.data import ImageData, load_data
from workers.judged_rows import is_stacked

MOST_BYTES = 10_000_000
SPEC = {
    "trials": 9,
    "finalists": 2,
    "folds": 2,
    "search_rows": 120,
    "search_epochs": 2,
    "minimize": "parameters",
    "space": {"stages": [2, 2], "depth": [1, 1], "width": [4, 8]},
    "baselines": True,
}
VOID = {"meta", "img", "br", "tr", "td", "th", "li", "dt", "dd"}


@dataclasses.dataclass(frozen=True)
class Ran:
    """A job that is done, and its report."""

    folder: Path
    store: StudyStore
    job: Job
    report: Report

    @property
    def places(self) -> Places:
        return Places(self.store.url, self.folder / "artifacts", CACHE)


def load(job: Job) -> ImageData:
    return load_data(job.spec.data, cache=CACHE)


def reported(store: StudyStore, places: Places, job_id: str) -> Report:
    source = open_source(store, job_id, files=places.files(job_id), load=load)
    return read_report(store, source)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("report")
    job, _ = worked(folder, **SPEC)
    assert job.state == "done", job.error
    store = StudyStore(f"sqlite:///{folder}/athanor.db")
    places = Places(store.url, folder / "artifacts", CACHE)
    yield Ran(folder, store, job, reported(store, places, job.id))
    store.close()


@pytest.fixture(scope="module")
def page(ran: Ran) -> str:
    files = ran.places.files(ran.job.id)
    source = open_source(ran.store, ran.job.id, files=files, load=load)
    return render_html(ran.report, gallery_of(source, ran.report, images=4))


def test_every_figure_is_the_store_s(ran: Ran) -> None:
    report, job = ran.report, ran.job
    assert job.result is not None and job.plan is not None and report.ensemble is not None
    result = job.result
    records = {record.number: record for record in ran.store.trials(job).records()}
    assert len(report.board.rows) == sum(r.score is not None for r in records.values())
    for row in report.board.rows:
        record = records[row.trial]
        found = (row.score.value, row.state, row.parameters, row.macs, row.seconds)
        assert found == (
            record.score,
            record.state,
            record.parameters,
            record.macs,
            record.seconds,
        )
        assert row.score.low is None or row.score.low <= row.score.value <= row.score.high  # type: ignore[operator]
    assert report.board.baselines == tuple(ran.store.trials(job).baselines())
    ensemble, members = report.ensemble, {m.trial: m for m in report.ensemble.members}
    assert ensemble.score.value == result["out_of_fold_score"]
    assert (ensemble.rows, ensemble.networks) == (result["out_of_fold_rows"], result["networks"])
    assert ensemble.expected.value == result["expected"]["score"]
    assert ensemble.test is not None and ensemble.test.value == result["test_accuracy"]
    assert [ensemble.test.low, ensemble.test.high] == list(result["test_interval"])
    for each in result["members"]:
        assert members[each["trial"]].weight == each["weight"]
    for name, score in result["out_of_fold_of_members"].items():
        assert members[int(name.removeprefix("trial-"))].score.value == score
    for name, score in result["test_accuracy_of_members"].items():
        assert members[int(name.removeprefix("trial-"))].test == score
    begun = [job.phases[p] for p in ("queued", "preparing", "searching", "landing", "assembling")]
    spans = np.diff([*begun, job.phases["done"]]).tolist()
    assert [phase.seconds for phase in report.costs.phases] == spans
    assert report.costs.seconds == job.seconds_used
    shown = 0
    for task in ran.store.folds.all(job.id):
        for curve in (c for c in report.curves if (c.trial, c.fold) == (task.trial, task.fold)):
            shown += 1
            assert curve.score[-1][1] == task.score
    assert shown


def test_mistakes_and_calibration_are_those_of_the_out_of_fold_rows(ran: Ran) -> None:
    mistakes, calibration, result = ran.report.mistakes, ran.report.calibration, ran.job.result
    assert mistakes is not None and calibration is not None and result is not None
    rows = result["out_of_fold_rows"]
    assert mistakes.rows == calibration.rows == rows == sum(map(sum, mistakes.counts))
    right = sum(row[n] for n, row in enumerate(mistakes.counts))
    assert right / rows == result["out_of_fold_accuracy"] and mistakes.wrong == rows - right
    assert sum(each.rows for each in calibration.bins) == rows
    shown = sum(each.rows * each.accuracy for each in calibration.bins) / rows
    assert shown == pytest.approx(result["out_of_fold_accuracy"])
    labels = load_data("digits", cache=CACHE).train_labels
    assert all(labels[each.row] == each.target != each.predicted for each in mistakes.worst)
    most = max(pair.rows for pair in mistakes.pairs)
    off = [n for a, row in enumerate(mistakes.counts) for b, n in enumerate(row) if a != b]
    assert mistakes.pairs[0].rows == most == max(off)


def test_no_look_at_the_test_set_is_needed(ran: Ran) -> None:
    def with_other_answers(job: Job) -> ImageData:
        data = load(job)
        return dataclasses.replace(data, test_labels=np.full_like(data.test_labels, 3))

    files = ran.places.files(ran.job.id)
    source = open_source(ran.store, ran.job.id, files=files, load=with_other_answers)
    assert read_report(ran.store, source) == ran.report
    (opening,) = ran.report.openings
    assert opening.job == ran.job.id and opening.reason == "landing of the search"
    assert opening.score == ran.job.result["test_accuracy"]  # type: ignore[index]


def test_what_influences_and_costs_is_told(ran: Ran) -> None:
    assert ran.report.importance.parameters and not ran.report.importance.reason
    front = ran.report.front
    assert front is not None and front.cost == "parameters"
    roles = {point.role for point in front.points}
    assert roles <= {"front", "chosen", "beaten"} and "chosen" in roles
    assert {setting.name for setting in ran.report.asked} >= {"data", "minimize", "folds"}
    winner = ran.report.winner
    assert winner is not None and winner.parts[-1].shape == (10,)
    assert sum(part.parameters for part in winner.parts) == winner.parameters
    assert sum(part.macs for part in winner.parts) == winner.macs


class Reader(HTMLParser):
    """Collects what a page shows and loads, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_one_file_that_needs_no_network(ran: Ran, page: str) -> None:
    assert len(page.encode()) < MOST_BYTES
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and "script" not in page
    within = [address for address in reader.addresses if address.startswith("#")]
    assert all(a.startswith(("data:image/", "#")) for a in reader.addresses)
    assert {a.removeprefix("#") for a in within} <= set(reader.ids)
    assert not re.search(r"url\((?!#)|@import", page)
    shown = " ".join(" ".join(reader.words).split())
    result = ran.job.result
    assert result is not None
    for score in (result["test_accuracy"], result["out_of_fold_score"], *result["test_interval"]):
        assert score_text(score) in shown
    assert "Who has opened the test set" in shown and "What each layer has learnt" in shown
    for row in ran.report.board.rows[:20]:
        assert row.network in shown


def test_the_page_s_pictures_are_the_rows_that_they_say(ran: Ran, page: str) -> None:
    assert ran.report.mistakes is not None
    images = load_data("digits", cache=CACHE).train_images
    worst = ran.report.mistakes.worst[0].row
    found = re.search(rf'<img src="data:image/png;base64,([^"]*)" alt="[^"]*; row {worst}"', page)
    assert found is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
    assert (shown == images[worst, :, :, 0]).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_s_browser_shows_it_from_disk_without_a_network(
    page: str, browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    context = browser.new_context(viewport=PHONE, color_scheme=scheme, offline=True)
    context.set_default_timeout(WAIT)
    tab = context.new_page()
    heard = complaints(tab)
    tab.goto((tmp_path / "report.html").as_uri())
    tab.get_by_role("heading", name="Leaderboard").wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert tab.evaluate(broken) == 0 and tab.evaluate("document.images.length") > 0
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    red, *_ = (int(number) for number in re.findall(r"\d+", background))
    assert (red < 128) == (scheme == "dark")
    assert heard == []
    context.close()


def test_the_dashboard_shows_the_report_and_a_trial_s_note_and_files(
    ran: Ran, page: str, browser: Browser
) -> None:
    file = ran.places.files(ran.job.id).report
    file.write_text(page, encoding="utf-8")
    number = ran.report.board.rows[0].trial
    with served(ran.folder) as server:
        context = browser.new_context(base_url=server.address)
        context.set_default_timeout(WAIT)
        tab = context.new_page()
        tab.goto(f"/#{TOKEN}")
        tab.get_by_role("heading", name="Jobs").wait_for()
        heard = complaints(tab)
        tab.goto(f"/jobs/{ran.job.id}")
        tab.get_by_role("link", name="report").click()
        tab.get_by_role("heading", name="Leaderboard").wait_for()
        tab.goto(f"/dashboard/studies/1/trials?numbers={number}")
        tab.get_by_role("heading", name=f"Trial {number} (trial_id").wait_for()
        tab.get_by_text("trained to its end").first.wait_for()  # the note's words
        tab.get_by_text("confusion").first.wait_for()  # its files
        assert heard == []
        context.close()
    file.unlink()


def test_charts_take_the_page_s_colours(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) >= 5
    for chart in charts:
        assert "var(--" in chart and not re.search(r"#0001|#0001a", chart)


def test_markdown_has_the_same_figures(ran: Ran) -> None:
    text, result = render_markdown(ran.report), ran.job.result
    assert result is not None
    assert score_text(result["test_accuracy"]) in text
    for row in ran.report.board.rows:
        assert f"| {row.trial} | {row.state} | {score_text(row.score.value)}" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_what_is_gone_is_said_and_the_rest_is_told(ran: Ran, tmp_path: Path) -> None:
    places = dataclasses.replace(ran.places, artifacts=tmp_path / "nowhere")
    out = tmp_path / "report.html"
    report = write_report(places, ran.job.id, out, kind="html", images=4, tell=lambda _: None)
    assert report.mistakes is None and report.calibration is None and report.missing
    assert report.ensemble is not None and ran.report.ensemble is not None
    assert report.ensemble.score.value == ran.report.ensemble.score.value
    assert report.board.rows == ran.report.board.rows
    text = out.read_text()
    assert "Not shown:" in text and "data:image" not in text


def test_files_that_say_something_else_than_the_store_are_not_believed(
    ran: Ran, tmp_path: Path
) -> None:
    shutil.copytree(ran.folder / "artifacts", tmp_path / "artifacts")
    places = dataclasses.replace(ran.places, artifacts=tmp_path / "artifacts")
    for path in (tmp_path / "artifacts").rglob("out_of_fold.npy"):
        array = np.load(path)
        np.save(path, array[:, ::-1])
    report = reported(ran.store, places, ran.job.id)
    assert report.mistakes is None
    assert any("must have the score in the store" in line for line in report.missing)


def test_data_that_have_changed_since_are_not_shown(ran: Ran) -> None:
    def other(job: Job) -> ImageData:
        data = load(job)
        return dataclasses.replace(data, train_images=255 - data.train_images)

    files = ran.places.files(ran.job.id)
    source = open_source(ran.store, ran.job.id, files=files, load=other)
    report = read_report(ran.store, source)
    assert report.mistakes is None and "has other rows than when the job was run" in (
        " ".join(report.missing)
    )


def test_a_file_is_written_or_json_is_printed(ran: Ran, page: str, tmp_path: Path) -> None:
    given = ["--store", ran.store.url, "--artifacts", str(ran.folder / "artifacts")]
    told = CliRunner().invoke(app, ["report", ran.job.id, *given, "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == json.loads(json.dumps(ran.report.json()))
    out, kept = tmp_path / "a.html", ran.places.files(ran.job.id).report
    write_report(ran.places, ran.job.id, out, kind="html", images=4, tell=lambda _: None)
    assert out.read_text() == kept.read_text() == page


@pytest.mark.parametrize(
    ("out", "given", "kind"),
    [(None, None, "html"), ("a.md", None, "markdown"), ("a.txt", "html", "html")],
)
def test_the_form_is_the_one_asked_for_or_the_file_s(
    out: str | None, given: str | None, kind: str
) -> None:
    assert format_of(None if out is None else Path(out), given) == kind


@pytest.mark.parametrize(("out", "given"), [("a.txt", None), (None, "pdf")])
def test_other_forms_are_refused(out: str | None, given: str | None) -> None:
    with pytest.raises(InputError, match="must"):
        format_of(None if out is None else Path(out), given)


def test_a_job_that_goes_on_has_the_report_of_what_there_is(tmp_path: Path) -> None:
    store, job, _ = prepared(tmp_path, trials=2)
    places = Places(store.url, tmp_path / "artifacts", CACHE)
    report = reported(store, places, job.id)
    assert (report.state, report.winner, report.ensemble) == ("searching", None, None)
    assert report.headline[0] == "The job is searching." and "needs" not in " ".join(report.missing)
    assert "Nobody: it is sealed" in render_html(report, Gallery())
    assert "Nobody: it is sealed" in render_markdown(report)
    store.close()


def test_where_numbers_are_predicted_the_worst_are_shown(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    targets = generator.uniform(0, 9, 240)
    noise = generator.normal(0, 20, (240, 8, 8))
    images = (targets[:, None, None] * 20 + noise).clip(0, 255).astype(np.uint8)
    np.savez(tmp_path / "numbers.npz", images=images, targets=targets)
    job, _ = worked(tmp_path, data=str(tmp_path / "numbers.npz"), folds=1, search_rows=60)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    files = Places(store.url, tmp_path / "artifacts", CACHE).files(job.id)
    source = open_source(store, job.id, files=files, load=load)
    report = read_report(store, source)
    assert job.result is not None and report.ensemble is not None and report.mistakes is None
    assert report.ensemble.score.value == job.result["out_of_fold_score"]
    errors = [abs(each.target - each.predicted) for each in report.number_mistakes]
    assert errors == sorted(errors, reverse=True) and errors
    assert len(errors) == min(64, job.result["out_of_fold_rows"])
    gallery = gallery_of(source, report, images=3)
    assert len(gallery.worst) == 3 and gallery.maps and not gallery.right
    assert "The worst mistakes" in render_html(report, gallery)
    assert "The worst mistakes" in render_markdown(report)
    store.close()


def test_the_rows_of_a_stacked_model_are_read_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combining, "clearly_better", lambda *given, **more: True)
    job, _ = worked(tmp_path, trials=3, finalists=3, folds=2, metric="log_loss")
    assert job.result is not None and is_stacked(job.result)
    store = StudyStore(f"sqlite:///{tmp_path}/athanor.db")
    report = reported(store, Places(store.url, tmp_path / "artifacts", CACHE), job.id)
    assert report.missing == () and report.mistakes is not None and report.ensemble is not None
    assert any("is used" in sentence for sentence in report.ensemble.words)
    store.close()


def test_a_job_that_has_not_begun_has_no_report(ran: Ran) -> None:
    queued = ran.store.jobs.create(JobSpec.parse({"data": "digits", "trials": 1}))
    with pytest.raises(JobError, match="only a job that has begun has a report"):
        reported(ran.store, ran.places, queued.id)
