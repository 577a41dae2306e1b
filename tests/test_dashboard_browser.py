"""The dashboard in a real browser: log in, look around, without an error in the console."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from athanor.dashboard.server import DashboardServer
from search.job import Job
from search.store import StudyStore
from tests.dashboards import TOKEN, filled_store, served

CHROMIUM = Path("/usr/bin/chromium")
WAIT = 30_000.0  # milliseconds; only a hang takes as long
# It is to run nothing but the page, and to call nobody.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if shutil.which(CHROMIUM) is None and "CI" not in os.environ:
        pytest.skip(f"Chromium is not installed (Debian: chromium, as {CHROMIUM})")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


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
    context = browser.new_context(base_url=server.address, viewport={"width": 390, "height": 844})
    context.set_default_timeout(WAIT)
    yield context.new_page()
    context.close()


def complaints(page: Page) -> list[str]:
    """Return a list to which whatever the console says of errors is added."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


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
        assert width <= 390, path
