"""report.html: one page that stands alone, honest about what was not measured."""

from __future__ import annotations

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.training.trial_types import TrialStatus
from search.report import write_report
from search.report.__main__ import main
from search.report.parameters import importances, value_text, varied
from search.report.plot import progress_png
from search.report.svg import Axis, Plot, nice_ticks
from search.results import read_results
from search.results.model_comparisons import compare_models
from search.results.run_info import SampleItem
from tests.search.made_runs import MadeRun, make_run
from tests.search.made_trials import make_trial

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks nesting as it reads; keeps links, ids, visible text and the plots' labels."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []
        self.labels: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "action", "data"):
                self.links.append(value or "")
            elif name == "id":
                self.ids.append(value or "")
            elif name == "aria-label":
                self.labels.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "path"

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


def page_of(run: MadeRun) -> tuple[str, Page]:
    run.write()
    text = write_report(run.folder).read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    return text, page


def test_the_page_stands_alone_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    text, page = page_of(make_run(tmp_path))
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    assert "default-src 'none'" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert len(text) < 400_000


def test_the_page_shows_what_a_reader_looks_for(tmp_path: Path) -> None:
    text, page = page_of(make_run(tmp_path))
    words = " ".join(" ".join(page.text).split())
    for heading in (
        "Formula, best, ensemble", "The owner's targets", "Learning curves", "Settings and results",
        "What mattered", "Where the error is", "Warning signs and contingencies", "Money and time",
        "What would be recommended", "Quality at load", "How it was made",
    ):  # fmt: skip
        assert heading in words, heading
    assert "95% interval" in words
    assert "back to epoch 12 with KL weight 0.005" in words
    assert "RuntimeError: the loss was NaN three times" in words
    assert "Film number 63 (1981)" in words
    assert "line 17: 'x' is no rating" in words
    assert "python search/breakthrough.py --data made-up" in words
    assert "not measured" in words
    assert "optimised, scaled" in words
    assert any(label.startswith("Learning curves of") for label in page.labels)
    assert text.count('class="plot"') == 6
    assert "nan" not in re.sub(r"NaN", "", " ".join(re.findall(r'd="([^"]*)"', text)))


def test_the_page_says_where_served_ratings_came_from(tmp_path: Path) -> None:
    lineage = {
        "base": "ab" * 32,
        "watermark": 1234,
        "served": 321,
        "from_our_lists": 0.25,
        "new_users": 7,
        "new_items": 0,
        "left_out": {"tester": 5},
    }
    run = make_run(tmp_path)
    _, page = page_of(run.having(dataset=run.results.dataset.model_copy(update={"lineage": lineage})))
    words = " ".join(" ".join(page.text).split())
    assert "321 ratings were given through the service, up to event 1,234" in words
    assert "25% of them for items that our own lists had shown; 7 new users, 0 new items" in words
    assert "left out: 5 tester" in words
    assert read_results(tmp_path).dataset.lineage == lineage


def test_a_headline_claims_no_more_than_its_interval(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    test, train = (run.dataset.ratings.take(rows) for rows in (run.split.test, run.split.train))
    same = {**run.test_stars, "ensemble": run.test_stars["formula_recalibrated"]}
    compare_models(run.results, test, same, train=train)
    _, page = page_of(run)
    assert "On test the ensemble cannot be told from the formula with BatchNorm recalibrated" in " ".join(
        page.text
    )


def test_two_objectives_are_shown_with_their_front(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    scored = [trial for trial in run.trials if trial.loss is not None]
    ndcg = {trial.spec.number: 0.3 + trial.spec.number / 100 for trial in scored}
    front = [trial.spec.number for trial in scored[:2]]
    text, page = page_of(run.having(ndcg_at_10=ndcg, front=front))
    words = " ".join(page.text)
    assert f"in both loss and NDCG@10 on valid: {front[0]}, {front[1]}." in words
    assert f"Loss and NDCG@10 of {len(scored)} trials; 2 are on the front" in page.labels
    assert f"NDCG@10 {ndcg[front[0]]:.4f}" in text


def test_titles_and_errors_cannot_inject_anything(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    evil = '"><script>alert(1)</script><img src=x>'
    samples = [
        sample.model_copy(update={"rated": [SampleItem(title=evil)], "user": evil})
        for sample in run.results.samples
    ]
    failed = next(trial for trial in run.trials if trial.status is TrialStatus.FAILED)
    spec = dataclasses.replace(failed.spec, name=evil, config={**failed.spec.config, "normalisation": evil})
    broken = dataclasses.replace(failed, error=evil, spec=spec, rmse=1.0, loss=1.0, best_epoch=1)
    trials = tuple(broken if trial is failed else trial for trial in run.trials)
    text, page = page_of(dataclasses.replace(run.having(samples=samples), trials=trials))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert "&lt;script&gt;" in text


def test_a_run_with_next_to_nothing_still_gets_a_page(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    failed = tuple(trial for trial in run.trials if trial.status is TrialStatus.FAILED)
    empty = run.without_models(
        trials={"failed": 1}, warnings=[], contingencies=[], milestones=[], status="interrupted"
    )
    _, page = page_of(dataclasses.replace(empty, trials=failed))
    words = " ".join(page.text)
    assert "No trial came as far as a first figure." in words
    assert "interrupted" in words
    assert "too few to say which setting mattered" in words


def test_the_page_is_made_again_from_its_folder_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path).write()
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "report.html")
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no results.json" in capsys.readouterr().err


def test_importance_finds_the_setting_that_decides() -> None:
    trials = []
    for number in range(2, 40):
        trial = make_trial(number)
        if trial.status is TrialStatus.FINISHED:
            rmse = 0.9 + 0.2 * (trial.spec.config["normalisation"] == "batch") + 0.001 * (number % 5)
            trials.append(dataclasses.replace(trial, rmse=rmse))
    parameters = varied(trials)
    assert parameters[0].name == "normalisation"
    weights = importances(trials, parameters)
    assert weights["normalisation"] > 0.9
    assert math.fsum(weights.values()) == pytest.approx(1.0)
    assert importances(trials[:3], parameters) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([512, 256], "512-256"),
        (True, "on"),
        (None, "none"),
        (0.00049999, "0.0005"),
        ("layer", "layer"),
        (3, "3"),
    ],
)
def test_settings_are_written_short(value: object, text: str) -> None:
    assert value_text(value) == text


@given(low=st.floats(-1e3, 1e3), span=st.floats(1e-3, 1e4), count=st.integers(3, 8))
def test_ticks_are_round_inside_and_told_apart(low: float, span: float, count: int) -> None:
    ticks = nice_ticks(low, low + span, count=count)
    values = [value for value, _ in ticks]
    assert 1 <= len(ticks) <= 2 * count + 2
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value in values)
    assert len({text for _, text in ticks}) == len(ticks)
    for value, text in ticks:
        assert float(text) == pytest.approx(value, abs=span * 1e-6)


def test_a_plots_points_lie_where_the_axes_say() -> None:
    plot = Plot(Axis(0, 10), Axis(1, 3), "a label with <marks>")
    plot.line([(0, 1), (5, 2), (10, 3)], kind="best")
    html = plot.html()
    assert 'd="M0.0 1000.0L500.0 500.0L1000.0 0.0"' in html
    assert 'aria-label="a label with &lt;marks&gt;"' in html
    assert Axis(1e-4, 1e-2, log=True).position(1e-3) == pytest.approx(0.5)


def test_the_notifications_picture_is_a_png_or_nothing() -> None:
    picture = progress_png([make_trial(number) for number in range(9)])
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    assert progress_png([make_trial(7)]) is None
