"""The dashboard in a real browser: log in, look around, without an error in the console."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from athanor.dashboard.server import DashboardServer
from search.job import Job
from search.store import StudyStore
from tests.browsers import PHONE, WAIT, complaints
from tests.dashboards import TOKEN, filled_store, served


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudyStore, Job, Path]]:
    folder = tmp_path_factory.mktemp("browser")
    store, job = filled_store(folder)
    yield store, job, folder
    store.close()


@pytest.fixture(scope="module")
def server(filled: tuple[StudyStore, Job, Path]) -> Iterator[DashboardServer]:
    with served(filled[2]) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: DashboardServer) -> Iterator[Page]:
    context = browser.new_context(base_url=server.address, viewport=PHONE)
    context.set_default_timeout(WAIT)
    yield context.new_page()
    context.close()


def log_in(page: Page) -> None:
    page.goto(f"/#{TOKEN}")
    page.get_by_role("heading", name="Jobs").wait_for()


def test_the_link_logs_in_and_the_token_leaves_the_address(page: Page) -> None:
    log_in(page)
    assert TOKEN not in page.url
    assert page.evaluate("document.cookie") == ""  # scripts do not see it
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Token").fill("not the token, but long enough")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("That is not the token.").wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Jobs").wait_for()


def test_from_the_overview_to_the_best_trial(
    page: Page, filled: tuple[StudyStore, Job, Path]
) -> None:
    store, job, _ = filled
    log_in(page)
    heard = complaints(page)
    page.get_by_role("link", name=job.id).click()
    page.get_by_role("heading", name="Leaderboard").wait_for()
    trial = store.trials(job).ask()
    page.get_by_text("running").wait_for()  # by itself
    page.get_by_role("link", name="study", exact=True).click()
    page.get_by_text(job.id).first.wait_for()
    page.get_by_text("Best Trial (number=1)").wait_for()
    page.goto("/dashboard/studies/1/trials?numbers=1")
    page.get_by_role("heading", name="Trial 1").wait_for()
    page.goto("/dashboard")
    page.get_by_text(job.id).first.wait_for()
    assert heard == []
    store.trials(job).tell(trial, "failed")


def test_nothing_is_wider_than_a_phone(page: Page, filled: tuple[StudyStore, Job, Path]) -> None:
    log_in(page)
    for path in ("/", f"/jobs/{filled[1].id}"):
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], path
