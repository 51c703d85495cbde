"""A whole run in which memory, training and posterior really fail: seen, answered, reported, and survived."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.release.load import load_release
from tests.end_to_end.commands import results_of, trial_rows
from tests.end_to_end.trouble import troubled_run

pytestmark = pytest.mark.system  # needs a C compiler


def test_out_of_memory_explosion_and_collapse_in_one_run(tmp_path: Path) -> None:
    out = tmp_path / "trouble"
    memory = troubled_run(out)
    assert memory.small < memory.cap < memory.large

    results = results_of(out)
    seen = {event["kind"] for event in results["warnings"]}
    assert {"out_of_memory", "diverged", "posterior_collapse"} <= seen
    answers = results["contingencies"]
    for words in ("batch 2048 -> 1536", "KL weight 0.01 -> 0.005", "free bits"):
        assert any(words in event["action"] for event in answers), words
    refused = {event["trial"] for event in answers if "1536" in event["action"]}
    went_on = [event for event in answers if event["trial"] in refused and "went on" in event["outcome"]]
    assert went_on
    rows = trial_rows(out)
    assert all(rows[trial][1] == "finished" for trial in refused)
    assert results["ensemble"]["test"]["rmse"] > 0
    page = (out / "report.html").read_text()
    for words in ("2048 -&gt; 1536", "out of memory"):
        assert words in page or words.replace("&gt;", ">") in page, words
    load_release(out / "release")
