"""The operations page in a real Chromium, beside a service that answers, rates, and rolls a release out."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.domain import ExperimentState
from serving.loop.loop_decisions import Phase
from serving.loop.loop_steps import mirror_records
from serving.rollout.policy import RolloutPlan
from serving.rollout.rollout_status import start_rollout
from tests.benchmarks.simulations.behaviour import Behaviour, answers
from tests.releases import make_release
from tests.serving.loop.test_loop_controller import PlannedSteps, controller
from tests.serving.ops.here import operating
from tests.serving.running import Running
from tests.waiting import wait_for

pytestmark = pytest.mark.system
CHROMIUM = "/usr/bin/chromium"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TOOLS = {"window_seconds": 0.5, "tick_seconds": 0.1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two arms with 600 synthetic people, a third arm rolling out, and a journal."""
    import numpy as np

    folder = tmp_path_factory.mktemp("operations")
    releases = {name: make_release(folder / name / "release", seed=seed) for seed, name in enumerate("abc")}
    third = str(releases.pop("c"))
    with operating(folder, releases, operations=TOOLS) as entry:
        store = entry.service.store
        plan = RolloutPlan("main", "a", "c", third, hold_seconds=0.2, minimum_exposures=0)
        state: ExperimentState = start_rollout(store, plan, now=time.time()).state
        wait_for(lambda: len(store.experiment_history("main")) >= 4)
        state = store.experiment("main") or state
        people = [f"p{number}" for number in range(600)]
        well = Behaviour(hit=0.3)
        behaviours = {"a": well, "b": Behaviour(hit=0.35), "c": well}
        random = np.random.default_rng(0)
        shown, done = answers(random, state, people, behaviours, at=time.time(), serial="s")
        store.add(exposures=shown, feedback=done)
        wait_for(lambda: (store.experiment("main") or state).owner == "manual")
        for user in range(40):
            entry.list(f"u{user}")
        steps = PlannedSteps(set())
        for verdict in ("ship", "stop"):
            steps.change = {Phase.COMPARE: {"verdict": verdict, "words": f"{verdict.capitalize()}: +0.01."}}
            loop = controller(folder / "loop", steps)
            loop.run(threading.Event(), once=True)
        mirror_records(store, loop.journal.records, experiment="main", folder=folder / "loop")
        yield entry


@pytest.fixture
def page(made: Running) -> Iterator[Any]:
    """Fails its test on any error in the page and on any request that leaves the service."""
    from playwright.sync_api import sync_playwright

    wrong: list[str] = []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = chromium.new_page(viewport=DESKTOP)
        opened.set_default_timeout(120_000)
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        opened.on(
            "request", lambda entry: wrong.append(entry.url) if not entry.url.startswith(made.url) else None
        )
        yield opened
        chromium.close()
    assert wrong == []


def picture(page: Any, name: str) -> None:
    """Kept for a person to look at where RECSYS_SCREENSHOTS names a folder."""
    if folder := os.environ.get("RECSYS_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_arms_verdicts_rollout_and_journal_are_shown_as_the_api_has_them(page: Any, made: Running) -> None:
    page.goto(f"{made.url}/operations")
    page.wait_for_selector("table")
    body = made.client.get("/v1/operations").json()
    results = body["experiments"][0]
    rows = page.locator("[aria-label='arms of main'] tbody tr")
    assert rows.count() == len(results["arms"]) == 3
    for index, arm in enumerate(results["arms"]):
        cells = rows.nth(index).locator("td").all_text_contents()
        assert cells[0].startswith(arm["arm"])
        assert cells[2] == str(arm["users"])
        assert cells[4] == f"{arm['exposures']:,}"
    words = page.locator(".verdict p").all_text_contents()
    assert words == [row["verdict"]["words"] for row in results["comparisons"]]
    assert page.locator(".stages li").all_text_contents() == ["shadow", "1%", "5%", "25%", "50%", "100%"]
    assert page.locator("ol.log li").count() == len(body["journal"])
    assert "no lift" in page.locator(".note").first.inner_text()
    page.wait_for_function("() => /[0-9]/.test(document.querySelectorAll('.tile b')[1].textContent)")
    picture(page, "operations-desktop")
    page.locator("summary", has_text="segments of users").click()
    page.evaluate("refresh()")  # drawn again, what was unfolded stays so
    listed = [row["segment"] for row in results["segments"] if row["interval"]]
    assert page.locator("[aria-label=segments] td:nth-child(2):visible").all_text_contents() == listed


def test_the_loop_shows_what_it_did_and_why(page: Any, made: Running) -> None:
    page.goto(f"{made.url}/operations")
    page.wait_for_selector("[aria-label='cycles of the loop']")
    rows = page.locator("[aria-label='cycles of the loop'] tbody tr")
    cells = [rows.nth(index).locator("td").all_text_contents() for index in range(rows.count())]
    assert [row[0][0] for row in cells] == ["2", "1"]
    assert [row[1] for row in cells] == ["20,000 new ratings"] * 2
    assert [row[2] for row in cells] == ["$1.25"] * 2
    assert [row[4] for row in cells] == ["Stop: +0.01.", "Ship: +0.01."]
    assert [row[5] for row in cells] == ["ended", "promoted"]
    assert cells[1][6] == "promoted: /runs/loop/cycle-0001/run/release serves all users"
    picture(page, "operations-loop")


def test_it_lives_and_leaves_the_reader_where_they_are(page: Any, made: Running) -> None:
    page.goto(f"{made.url}/operations")
    page.wait_for_selector("table")
    before = page.locator("[aria-label='arms of main']").inner_text()
    page.evaluate("document.querySelector('ol.log').scrollTop = 30")
    top = page.evaluate("document.querySelector('ol.log').scrollTop")
    for user in range(40):
        made.list(f"u{user}")
    page.wait_for_function(
        "text => document.querySelector('[aria-label=\"arms of main\"]').innerText !== text",
        arg=before,
    )
    assert page.evaluate("document.querySelector('ol.log').scrollTop") == top


def test_nothing_is_cut_off_on_a_phone(page: Any, made: Running) -> None:
    page.set_viewport_size(PHONE)
    page.goto(f"{made.url}/operations")
    page.wait_for_selector("table")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    picture(page, "operations-phone")
