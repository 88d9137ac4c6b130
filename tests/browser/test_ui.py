"""The UI as a person meets it: a real sweep, `gansweep ui`, and a browser that looks for runs, curves and grids."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
from omegaconf import OmegaConf
from PIL import Image

from browser.chromium import DEADLINE_S, browser, needed, until

STEPS = 6
CARD = "[data-testid='experiment-view-compare-runs-card']"
# Only training runs have a seed: this leaves the sweep's summary out.
TRAINING_RUNS = "params.`seed` LIKE '%'"
# As in selenium.webdriver.common.keys.Keys; selenium may not be installed.
ARROW_RIGHT, SELECT_ALL = "\ue014", ("\ue009a", "\ue000")
Record = dict[str, Any]


def sweep(cwd: Path, small_overrides: list[str]) -> list[Record]:
    """Train two jobs as a user would, from an experiment of the user's own; returns their records in job order."""
    settings = [line for line in small_overrides if not line.startswith(("data=", "tracker="))]
    own = cwd / "conf" / "experiment" / "discs.yaml"
    own.parent.mkdir(parents=True)
    head = "# @package _global_\ndefaults:\n  - override /data: folder\n"
    own.write_text(head + OmegaConf.to_yaml(OmegaConf.from_dotlist(settings)))
    often = [f"steps={STEPS}", "log_every=2", "sample_every=3", "val_every=0", "tracker.drain_s=120"]
    words = ["-m", "experiment=discs", "model=vaegan", "scales.l1=100,600", *often]
    done = subprocess.run(
        [sys.executable, "-m", "gansweep", *words], cwd=cwd, capture_output=True, text=True, timeout=2 * DEADLINE_S
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(path.read_text()) for path in sorted(cwd.glob("multirun/*/*/[01]/run.json"))]


@contextlib.contextmanager
def serving(cwd: Path) -> Iterator[str]:
    """Yield the address that `gansweep ui` tells; afterwards nothing of it may be left."""
    command = [sys.executable, "-m", "gansweep", "ui", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as ui:
        family: list[psutil.Process] = []
        try:
            assert ui.stdout is not None and ui.stderr is not None
            told = re.search(r"http://127\.0\.0\.1:\d+", ui.stdout.readline())
            assert told is not None, ui.stderr.read()
            family = psutil.Process(ui.pid).children(recursive=True)
            assert family, "gansweep ui has no server behind it"
            yield told.group()
            ui.send_signal(signal.SIGINT)
            assert ui.wait(DEADLINE_S) == 0
        finally:
            ui.kill()
            ui.wait()
            left = [process for process in family if process.is_running()]
            for process in left:
                process.kill()
        assert left == []
    for group in {ui.pid, family[0].pid}:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


class Page:
    """What a person does with the page, in words."""

    def __init__(self, driver: Any, address: str, screenshots: Path) -> None:
        self.driver, self.address, self.screenshots = driver, address, screenshots

    def open(self, place: str) -> None:
        self.driver.get("about:blank")  # a change of the fragment alone would not load the page anew
        self.driver.get(f"{self.address}/#{place}")

    def find(self, selector: str, within: Any = None) -> list[Any]:
        return (within or self.driver).find_elements("css selector", selector)

    def until(self, condition: Any, what: str) -> Any:
        return until(self.driver, condition, what)

    def search_charts(self, text: str) -> None:
        """Leave only the charts whose names match `text`, a regular expression."""
        box = self.until(lambda: self.find("input[placeholder='Search metric charts']"), "the charts' search box")[0]
        box.send_keys(*SELECT_ALL, text)

    def card(self, title: str) -> Any:
        """Return the card called `title`, as it is now: the page makes its cards anew while it loads."""
        return next((card for card in self.find(CARD) if self.find(f"h4[title='{title}']", card)), None)

    def keep(self, name: str) -> None:
        """Take a screenshot, which must show something."""
        path = self.screenshots / f"{name}.png"
        assert self.driver.save_screenshot(str(path))
        with Image.open(path) as shot:
            assert len(shot.convert("RGB").getcolors(maxcolors=1 << 24) or ()) > 50, f"{path} is blank"


def finds_experiment(page: Page) -> str:
    """Find gansweep in the list of experiments; returns the address of its training runs, without the page's own."""
    page.open("/experiments")
    link = page.until(
        lambda: next((a for a in page.find("a[href*='/experiments/']") if a.text == "gansweep"), None),
        "experiment gansweep",
    )
    matched = re.search(r"/experiments/(\d+)", str(link.get_attribute("href")))
    assert matched is not None
    return f"/experiments/{matched[1]}/runs?workflowType=machine_learning"


def finds_runs(page: Page, place: str, runs: list[Record]) -> None:
    """Find each run, and the sweep's summary, by name in the table of training runs."""
    page.open(place)
    for run in runs:
        row = f"a[href*='/runs/{run['mlflow_run_id']}']"
        names = page.until(lambda row=row: [a.text for a in page.find(row)], f"a row of {run['name']}")
        assert names == [run["name"]]
    assert any(link.text == f"sweep {runs[0]['sweep']['id']}" for link in page.find("a[href*='/runs/']"))
    page.keep("runs")


def opens_charts(page: Page, place: str) -> None:
    """Open the chart view of the training runs and wait for all its cards; those of pictures come last."""
    page.open(f"{place}&compareRunsMode=CHART&searchFilter={quote(TRAINING_RUNS)}")
    sections = "[data-testid='experiment-view-compare-runs-section-header']"
    page.until(
        lambda: any(re.search(r"Model metrics\s*\(2\)", header.text) for header in page.find(sections)),
        "the section with the cards of samples and reconstructions",
    )


def finds_curves(page: Page, runs: list[Record]) -> None:
    """Find the chart of enc/l1: each run named, and for each a line through its three points."""
    page.search_charts("^enc/")

    def drawn() -> bool:
        card = page.card("enc/l1")
        if card is None:
            return False
        named = all(f"{run['name']} (enc/l1)" in card.text for run in runs)
        traces = page.find(".scatterlayer .trace", card)
        lines = [trace for trace in traces if page.find("path.js-line[d]", trace)]
        points = [len(page.find(".points path", line)) for line in lines]
        return named and points.count(STEPS // 2) == len(runs)  # each line is there again, without points

    page.until(drawn, f"curves of {[run['name'] for run in runs]} in the chart of enc/l1")
    page.keep("curves")


def finds_grids(page: Page, runs: list[Record]) -> None:
    """Find the card of sample grids; on full screen, at the last step, each run's picture is there."""
    page.search_charts("samples")

    def on_full_screen() -> bool:
        if not page.find("[role='dialog'] [role='slider']") and (card := page.card("samples")) is not None:
            page.find("button[data-component-id='fullscreen_button_chartcard']", card)[0].click()
        return bool(page.find("[role='dialog'] [role='slider']"))

    def at_the_last_step() -> bool:
        (slider,) = page.find("[role='dialog'] [role='slider']")
        if slider.get_attribute("aria-valuenow") != str(STEPS):
            slider.send_keys(ARROW_RIGHT)
            return False
        return slider.get_attribute("aria-valuemax") == str(STEPS)

    page.until(on_full_screen, "the sample grids' card, on full screen")
    page.until(at_the_last_step, f"a slider of steps that ends at {STEPS}")

    def loaded() -> list[Any] | None:
        pictures = page.find("[role='dialog'] img")
        sources = [str(picture.get_attribute("src")) for picture in pictures]
        wanted = [(f"samples%2Bstep%2B{STEPS}%2B", f"run_uuid={run['mlflow_run_id']}") for run in runs]
        found = all(any(step in source and run in source for source in sources) for step, run in wanted)
        whole = all(int(picture.get_property("naturalWidth")) > 100 for picture in pictures)
        return pictures if found and whole else None

    pictures = page.until(loaded, f"the sample grids of both runs at step {STEPS}")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", pictures[0])
    page.keep("grids")


@pytest.mark.browser
@pytest.mark.slow
def test_the_ui_shows_a_sweep_s_runs_curves_and_grids(tmp_path: Path, small_overrides: list[str]) -> None:
    needed()
    screenshots = Path(os.environ.get("GANSWEEP_SCREENSHOTS") or tmp_path / "screenshots")
    screenshots.mkdir(parents=True, exist_ok=True)
    runs = sweep(tmp_path, small_overrides)
    assert [run["status"] for run in runs] == ["FINISHED"] * 2 and runs[0]["name"] != runs[1]["name"]
    with serving(tmp_path) as address, browser(tmp_path / "profile") as driver:
        page = Page(driver, address, screenshots)
        place = finds_experiment(page)
        finds_runs(page, place, runs)
        opens_charts(page, place)
        finds_curves(page, runs)
        finds_grids(page, runs)
