"""Whole runs in which training, the posterior and memory really fail: seen, answered, reported, survived."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.release.load import load_release
from tests.end_to_end.commands import DATA, TINY, log_of, results_of, run, trial_rows
from tests.end_to_end.trouble import troubled_run


@pytest.mark.slow
def test_trouble_is_seen_acted_on_and_reported(tmp_path: Path) -> None:
    """Real faults: a learning rate that explodes, and the formula's latent that collapses on few data."""
    out = tmp_path / "trouble"
    trouble = ["--set", "learning_rate=1e30", "--set", "reference.enabled=false"]
    assert run(out, "--data", DATA, *TINY, *trouble) == 0, log_of(out)
    results = results_of(out)
    seen = {event["kind"] for event in results["warnings"]}
    assert {"diverged", "posterior_collapse"} <= seen
    actions = [event["action"] for event in results["contingencies"]]
    assert any("0.005" in action for action in actions)
    failed = [row for row in trial_rows(out).values() if row[1] == "failed"]
    assert failed
    reasons = [json.loads(path.read_text())["error"] for path in out.glob("trials/*/result.json")]
    assert any("diverged" in reason for reason in reasons)
    assert "diverged" in (out / "report.html").read_text()
    load_release(out / "release")


@pytest.mark.system  # needs a C compiler
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
