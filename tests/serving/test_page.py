"""The pages in a real Chromium: by mouse, by keyboard, on a phone, and without anything from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.running import Running, running
from tests.waiting import wait_for

pytestmark = pytest.mark.system
CHROMIUM = "/usr/bin/chromium"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def made(releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("page"), releases) as entry:
        yield entry


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, made: Running) -> Iterator[Any]:
    """A page that fails its test on any error in it and on any request that leaves the service."""
    wrong: list[str] = []
    opened = browser.new_page(viewport=DESKTOP)
    opened.set_default_timeout(120_000)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    opened.on(
        "request", lambda entry: wrong.append(entry.url) if not entry.url.startswith(made.url) else None
    )
    yield opened
    assert wrong == []
    opened.close()


def titles(page: Any, arm: str) -> list[str]:
    result: list[str] = page.locator(f"[aria-label='arm {arm}'] .what b").all_text_contents()
    return result


def picture(page: Any, name: str) -> None:
    """Kept for a person to look at where RECSYS_SCREENSHOTS names a folder."""
    if folder := os.environ.get("RECSYS_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_a_known_user_rates_and_the_list_changes(page: Any, made: Running) -> None:
    page.goto(made.url)
    page.fill("#user", "u9")
    page.click("#user-form button")
    arm = made.list("u9")["arm"]
    expected = [item["title"] for item in made.list("u9")["items"]]
    page.wait_for_function("() => document.querySelectorAll('.list li').length === 10")
    page.wait_for_function(f"() => document.querySelector('.list .what b').textContent === {expected[0]!r}")
    assert titles(page, arm) == expected
    assert page.locator(".stars").count() == 10
    assert "because of" in page.locator(".list").inner_text()
    picture(page, "page-desktop")
    first = page.locator(".list li").first
    first.locator("select").focus()
    for _ in range(5):  # passing over values stores nothing
        page.keyboard.press("ArrowDown")
    page.wait_for_timeout(200)
    assert list(made.service.store.feedback(user_id="u9")) == []
    first.locator("select").select_option("5")
    first.get_by_role("button").click()
    page.get_by_role("button", name="take back").click()
    assert "taken back" in page.locator("#said").inner_text()
    first.locator("select").select_option("1")
    first.get_by_role("button").click()
    page.wait_for_function("() => document.querySelector('#said').textContent.includes('stars stored')")
    assert expected[0] not in titles(page, arm)
    assert [row.value for row in made.service.store.feedback(user_id="u9")] == [1.0]


def test_somebody_new_by_keyboard_alone(page: Any, made: Running) -> None:
    page.goto(made.url)
    page.wait_for_selector(".list li")
    page.focus("input[name=mode][value=user]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "title"
    page.keyboard.type("Film 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#found li")
    page.keyboard.press("Tab")  # the button
    page.keyboard.press("Tab")  # the first film's rating
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(
        "your rating of Film"
    )
    page.keyboard.press("ArrowDown")
    assert page.locator("#rated li").count() == 0
    page.keyboard.press("Tab")  # the button that appeared
    page.keyboard.press("Enter")
    page.wait_for_selector(".list li")
    assert page.locator("#rated li").count() == 1
    assert "from the ratings just given" in page.locator(".list").first.inner_text()


def test_arms_side_by_side_and_on_a_phone(page: Any, made: Running) -> None:
    page.goto(made.url)
    page.wait_for_selector(".list li")
    page.check("#beside")
    page.wait_for_function("() => document.querySelectorAll('.list').length === 2")
    for arm in "ab":
        user = page.input_value("#user")
        assert titles(page, arm) == [item["title"] for item in made.list(user, arm=arm)["items"]]
    picture(page, "page-side-by-side")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, input:not([type=radio]):not([type=checkbox])')]"
        ".filter(e => e.offsetParent && e.getBoundingClientRect().height < 32).length"
    )
    assert small == 0
    page.uncheck("#beside")
    page.wait_for_function("() => document.querySelectorAll('.list').length === 1")
    tall = page.evaluate("document.querySelector('.list').getBoundingClientRect().height")
    assert tall <= 2 * PHONE["height"]
    picture(page, "page-phone")


def test_a_genre_narrows_and_trouble_is_told(page: Any, made: Running) -> None:
    page.goto(made.url)
    page.wait_for_selector(".list li")
    page.select_option("#genre", "Drama")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.list .what small:first-of-type')]"
        ".every(e => e.textContent.includes('Drama'))"
    )
    page.fill("#user", "nobody")
    page.click("#user-form button")
    page.wait_for_function("() => document.querySelector('.list p').textContent.includes('popular with all')")


def test_a_page_that_is_left_sends_what_waits(page: Any, made: Running) -> None:
    page.goto(made.url)
    page.fill("#user", "u11")
    page.click("#user-form button")
    page.wait_for_load_state("networkidle")  # the list of the page's first user is replaced
    page.wait_for_function("() => document.querySelectorAll('.list li').length === 10")
    first = page.locator(".list li").first
    first.locator("select").select_option("2")
    first.get_by_role("button").click()
    page.goto(f"{made.url}/docs")
    wait_for(lambda: [row.value for row in made.service.store.feedback(user_id="u11")] == [2.0])


def test_every_control_has_a_name(page: Any, made: Running) -> None:
    page.goto(made.url)
    page.wait_for_selector(".list li")
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => e.offsetParent"
        " && !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).length"
    )
    assert nameless == 0
    assert page.get_attribute("html", "lang") == "en"


def test_the_api_page_lists_every_route(page: Any, made: Running) -> None:
    page.goto(f"{made.url}/docs")
    page.wait_for_selector("details")
    paths = made.client.get("/openapi.json").json()["paths"]
    assert page.locator("details").count() == sum(len(methods) for methods in paths.values())
    page.locator("summary", has_text="/v1/feedback").click()
    assert "curl -X POST" in page.locator("details[open] pre").inner_text()
    picture(page, "docs-desktop")


def test_both_pages_ask_for_the_key_by_one_form_and_share_it(
    browser: Any, releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_API_KEY", "the key")
    with running(tmp_path, releases) as made:
        opened = browser.new_page(viewport=DESKTOP)
        opened.set_default_timeout(120_000)
        dialogs: list[str] = []
        opened.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        opened.goto(f"{made.url}/operations")
        opened.wait_for_selector("#key-form:not([hidden])")
        opened.wait_for_timeout(2_500)  # it asks again every two seconds
        opened.fill("#key", "the key")
        opened.click("#key-form button")
        opened.wait_for_function("() => document.querySelector('#when').textContent.startsWith('as of')")
        assert opened.locator("#key-form").is_hidden()
        opened.goto(made.url)
        opened.wait_for_selector(".list li")
        assert dialogs == []
        opened.close()
