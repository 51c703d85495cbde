"""``python -m serving loop``: its YAML, its pause, its status and its replay."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import yaml

from recsys.errors import InputError
from serving.__main__ import main
from serving.domain import ArmSpec, ExperimentState
from serving.events.store import EventStore
from serving.loop.loop_controller import read_pause
from serving.loop.loop_decisions import Phase, decide
from serving.loop.loop_journal import LoopState
from serving.loop.loop_settings import ComparisonSettings, LoopSettings, read_loop_settings
from serving.loop.loop_steps import LoopSteps
from serving.settings import Settings
from tests.releases import make_release
from tests.serving.loop.test_loop_controller import PlannedSteps, controller

YAML = Path(__file__).resolve().parents[3] / "serving" / "loop.yaml"


def keys(fields: object) -> object:
    return {name: keys(value) for name, value in fields.items()} if isinstance(fields, dict) else None


def test_the_yaml_has_every_key_with_its_default() -> None:
    fields = yaml.safe_load(YAML.read_text())
    assert read_loop_settings(YAML) == LoopSettings()
    assert keys(fields) == keys(LoopSettings().model_dump())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("search: {max_usd: 0}", r"search.max_usd: Input should be greater than 0 \(got '0'\)"),
        ("comparison: {share: 1.0}", r"comparison.share: Input should be less than 1"),
        ("rollout: {stages: [0.5, 0.2]}", r"rollout: stages must rise to 1.0"),
        ("retrain: []", r"retrain: Extra inputs are not permitted"),
        ("a: [", r"is not YAML"),
        ("- 1", r"the top level"),
    ],
)
def test_bad_settings_are_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "loop.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_loop_settings(tmp_path / "loop.yaml")


def test_pause_status_resume_and_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, config = tmp_path / "loop", tmp_path / "loop.yaml"
    config.write_text(json.dumps({"folder": str(folder), "poll_seconds": 0.01}))
    words = ["--config", str(config)]
    assert main(["loop", "status", *words]) == 2
    assert "there is no loop in" in capsys.readouterr().err
    controller(folder, PlannedSteps()).run(threading.Event(), once=True)
    assert main(["loop", "pause", "--reason", "holiday", *words]) == 0
    loop = controller(folder, PlannedSteps())
    assert not loop.step()
    assert loop.journal.records[-1].reason == "paused: holiday"
    capsys.readouterr()
    assert main(["loop", "status", *words]) == 0
    shown = capsys.readouterr().out
    assert "cycle 1, idle; no controller runs; paused holiday" in shown
    assert "promote -> idle: promoted" in shown
    assert main(["loop", "resume", *words]) == 0
    assert read_pause(folder) is None
    assert controller(folder, PlannedSteps()).step()
    capsys.readouterr()
    assert main(["loop", "replay", *words]) == 0
    assert capsys.readouterr().out == "10 decisions, 0 of them different\n"


def test_a_metric_that_nothing_measures_is_said_before_a_search_is_paid_for(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    store.create_tables()
    release = make_release(tmp_path / "release")
    state = ExperimentState("main", 0, "salt", (ArmSpec("main", str(release), 1.0),))
    store.save_experiment(state, expected=0, actor="test")
    settings = LoopSettings(folder=str(tmp_path / "loop"), comparison=ComparisonSettings(metric="plays"))
    steps = LoopSteps(settings, Settings(events=str(tmp_path / "events.db")))
    seen = steps.evidence(LoopState(), [], now=1.0, paused=None)
    assert seen["busy"].endswith("cannot use 'plays'; 'main' has: hit_rate, accuracy")
    assert decide(Phase.IDLE, seen | {"new_ratings": 10**6}, settings).next is Phase.IDLE
