"""A real browser, and what it complains of."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
WAIT = 30_000.0  # milliseconds; only a hang takes as long
PHONE: ViewportSize = {"width": 390, "height": 844}
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


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's browser; skip the test where there is none."""
    if shutil.which(CHROMIUM) is None and "CI" not in os.environ:
        pytest.skip(f"Chromium is not installed (Debian: chromium, as {CHROMIUM})")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


def complaints(page: Page) -> list[str]:
    """Return a list to which whatever the console says of errors is added."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found
