"""A real browser for tests: Debian's headless chromium with a profile of its own, and waiting with a deadline."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

DEADLINE_S = 120.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1200",
)
# MLflow opens a chat panel over a quarter of the window at a browser's first visit; this says it has been there.
VISITED = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
Found = TypeVar("Found")


def needed() -> tuple[str, str]:
    """Return the paths of chromium and its driver; skips the test where one of them or selenium is missing."""
    pytest.importorskip("selenium", reason="selenium is not installed (pip install 'gansweep[dev]')")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = "chromium" if browser is None else "chromedriver"
        pytest.skip(f"{missing} is not installed (Debian: apt-get install chromium chromium-driver)")
    return browser, driver


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Yield a driver with an empty profile in `profile`; its processes end with the block."""
    binary, driver_path = needed()
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        driver.set_page_load_timeout(DEADLINE_S)
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"try {{ {VISITED} }} catch {{}}"})
        yield driver
    finally:
        driver.quit()


def until(driver: Any, condition: Callable[[], Found | None], what: str) -> Found:
    """Return what `condition` finds, once it finds something; fails with the page's text after the deadline.

    Elements that the page replaces while it is looked at count as not found yet.
    """
    from selenium.common import exceptions
    from selenium.webdriver.support.ui import WebDriverWait

    gone = (
        exceptions.NoSuchElementException,
        exceptions.StaleElementReferenceException,
        exceptions.ElementClickInterceptedException,
        exceptions.ElementNotInteractableException,
    )
    wait = WebDriverWait(driver, DEADLINE_S, poll_frequency=0.2, ignored_exceptions=gone)
    try:
        return wait.until(lambda _: condition())  # type: ignore[return-value]
    except exceptions.TimeoutException:
        page = driver.find_element("tag name", "body").text[:3000]
        pytest.fail(f"not there after {DEADLINE_S:.0f} s: {what}; {driver.current_url} shows:\n{page}")
