"""A second rented provider, from quote to down, with its file, its registry line and its YAML alone.

SSH and Ray's job server are played: what a provider hands over is a machine that answers, and the steps after
that are the same for all of them (tests/clusters shows them on real machines).
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from clusters import state as states
from clusters.cli import main
from clusters.launch import launch_search
from clusters.providers import PROVIDERS
from clusters.spec import RentedSpec, read_spec
from clusters.watchdog import watch_cluster
from tests.contracts.harbor import HarborProvider, HarborSpec

YAML = Path(__file__).with_name("harbor.yaml")


class PlayedNode:
    """What the machine was asked over SSH, and its answers."""

    def __init__(self) -> None:
        self.settings: list[dict[str, Any]] = []
        self.submitted: list[list[str]] = []
        self.info: dict[str, Any] = {}
        self.torch_gpus = 1

    def run(self, words: str, *, stdin: bytes = b"", timeout: float = 60) -> str:
        if "node.py" in words:
            self.settings.append(json.loads(stdin))
            why = "" if self.torch_gpus else "this torch was built without CUDA"
            facts = {"gpus_expected": 1, "torch_gpus": self.torch_gpus, "torch": "2.13", "why": why}
            return f"guard started\nFACTS {json.dumps(facts)}\nREADY\n"
        if "facts.json" in words:
            self.info = json.loads(stdin)
        if "test -d" in words:
            return "yes"
        if "python" in words and words.startswith("cat"):
            return "/usr/bin/python3"
        return "/root" if words == "pwd" else ""

    def poll(self) -> bytes:
        return json.dumps({"exit": 0, "running": False, "busy_age": 1.0, "log": 0}).encode() + b"\n"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedNode:
    played = PlayedNode()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(PROVIDERS, "harbor", "tests.contracts.harbor:HarborProvider")
    monkeypatch.setattr(HarborProvider, "berths", {})
    monkeypatch.setattr("clusters.ssh.Ssh.run", lambda self, words, **more: played.run(words, **more))
    polled = iter([b'{"exit": null, "running": true, "busy_age": 0, "log": 3}\nhi\n'])
    monkeypatch.setattr("clusters.ssh.Ssh.run_bytes", lambda self, words, **_: next(polled, played.poll()))
    monkeypatch.setattr("clusters.ssh.Ssh.push", lambda self, *_, **__: None)

    def pull(self: Any, remote: str, local: Path, **_: Any) -> None:
        local.mkdir(parents=True, exist_ok=True)
        (local / "results.json").write_text("{}")

    monkeypatch.setattr("clusters.ssh.Ssh.pull", pull)
    monkeypatch.setattr("clusters.jobs.Jobs.nodes", lambda self: [{"GPU": 1.0}])
    monkeypatch.setattr(
        "clusters.jobs.Jobs.submit", lambda self, job, command, **_: played.submitted.append(command)
    )
    for name in ("start_watchdog", "make_key"):
        monkeypatch.setattr(f"clusters.launch.{name}", lambda cluster: 0)
    monkeypatch.setattr("clusters.cli.start_watchdog", lambda cluster: 0)
    monkeypatch.setattr("clusters.launch.shutil.which", lambda tool: f"/usr/bin/{tool}")
    return played


def test_its_yaml_is_read_by_its_own_spec(node: PlayedNode) -> None:
    spec = read_spec(YAML)
    assert isinstance(spec, HarborSpec)
    assert isinstance(spec, RentedSpec)
    assert (spec.pier, spec.idle_minutes) == ("south", 15)


def test_quote_up_status_down(node: PlayedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quote", str(YAML)]) == 0
    assert "Crane 48" in capsys.readouterr().out
    assert main(["up", str(YAML), "--yes", "--out", str(tmp_path / "run")]) == 0
    (state,) = states.all_states()
    assert [berth.id for berth in HarborProvider.berths.values()] == [state.head.id]
    guard = node.settings[0]["guard"]
    assert guard["end"]["key_variable"] == "HARBOR_KEY"
    assert guard["end"]["calls"] == [["DELETE", "https://harbor.invalid/{id}", None]]
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "MOORED" in capsys.readouterr().out
    assert main(["down"]) == 0
    assert HarborProvider.berths == {}
    assert states.load(state.name).phase == "ended"


def test_a_search_from_quote_to_bill(node: PlayedNode, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert launch_search(YAML, ["--trials", "3"], out=out, yes=True, detach=False, attach=False) == 0
    (command,) = node.submitted
    assert "--max-hours" in command
    assert node.info["provider"] == "harbor"
    assert (out / "results.json").exists()
    assert json.loads((out / "cluster_bill.json").read_text())["provider_usd"] is None
    assert HarborProvider.berths == {}


def test_its_watchdog_lives_and_ends_it(node: PlayedNode, tmp_path: Path) -> None:
    spec = read_spec(YAML)
    state = states.create(spec, out=tmp_path / "run")
    provider = HarborProvider()
    provider.rent(spec, state, log=lambda text: None)
    states.update(state.name, created=state.created - 3 * 3600, phase="ready")  # max_hours are over
    watch_cluster(state.name)
    assert HarborProvider.berths == {}
    assert states.load(state.name).notes["ended_by"] == "the watchdog: max_hours 3"


def test_sweep_finds_what_nobody_owns(node: PlayedNode, capsys: pytest.CaptureFixture[str]) -> None:
    spec = read_spec(YAML)
    state = states.create(spec)
    HarborProvider().rent(spec, state, log=lambda text: None)
    (states.state_root() / "clusters" / state.name / "state.json").unlink()
    assert main(["sweep", "--provider", "harbor", "--yes"]) == 0
    assert "ended breakthrough-" in capsys.readouterr().out
    assert HarborProvider.berths == {}


def test_a_machine_whose_gpu_torch_does_not_see_is_ended_with_the_reason(
    node: PlayedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(node, "torch_gpus", 0)
    out = tmp_path / "run"
    assert launch_search(YAML, [], out=out, yes=True, detach=False, attach=False) == 1
    said = capsys.readouterr().err
    assert "1 GPU(s) rented, torch 2.13 sees 0 (this torch was built without CUDA)" in said
    assert "require_gpu: false" in said
    assert node.submitted == []
    assert HarborProvider.berths == {}


def test_a_cluster_whose_gpu_ray_does_not_count_is_ended_with_the_reason(
    node: PlayedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clusters.jobs.Jobs.nodes", lambda self: [{"CPU": 8.0}])
    assert launch_search(YAML, [], out=tmp_path / "run", yes=True, detach=False, attach=False) == 1
    assert "1 GPU(s) rented, Ray counts 0" in capsys.readouterr().err
    assert node.submitted == []
    assert HarborProvider.berths == {}


def test_a_driver_ended_by_sigterm_leaves_no_machine(
    node: PlayedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = node.run

    def killed_while_coming_up(words: str, **more: Any) -> str:
        if "node.py" in words:
            signal.raise_signal(signal.SIGTERM)
        return run(words, **more)

    monkeypatch.setattr(node, "run", killed_while_coming_up)
    before = signal.getsignal(signal.SIGTERM)
    assert launch_search(YAML, [], out=tmp_path / "run", yes=True, detach=False, attach=False) == 130
    assert HarborProvider.berths == {}
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_between_submitting_and_following_leaves_no_machine(
    node: PlayedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a line that expects no interrupt: the watchdog's check, when the job runs already."""

    def killed(pid: int) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return True

    monkeypatch.setattr("clusters.launch.alive", killed)
    assert launch_search(YAML, [], out=tmp_path / "run", yes=True, detach=False, attach=False) == 130
    assert node.submitted != []
    assert HarborProvider.berths == {}


def test_sigterm_while_searching_stops_the_search_and_ends_the_machine(
    node: PlayedNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = node.run

    def note(words: str, **more: Any) -> str:
        asked.append(words)
        return run(words, **more)

    def killed(self: Any, words: str, **_: Any) -> bytes:
        signal.raise_signal(signal.SIGTERM)
        return b'{"exit": null, "running": true, "busy_age": 0, "log": 0}\n'

    monkeypatch.setattr(node, "run", note)
    monkeypatch.setattr("clusters.ssh.Ssh.run_bytes", killed)
    assert launch_search(YAML, [], out=tmp_path / "run", yes=True, detach=False, attach=False) == 130
    assert sum("kill -INT" in words for words in asked) == 2
    assert HarborProvider.berths == {}
