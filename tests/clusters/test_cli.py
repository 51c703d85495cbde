"""`python -m clusters`: help, exit codes, quotes without an account, sweep."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from clusters import state as states
from clusters.cli import main, parser
from clusters.launch import launch_search
from tests.clusters.played.playing import FIELDS, Play, a_spec

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("quote", "up", "status", "ssh", "logs", "fetch", "down", "sweep")


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(FIELDS))
    return path


def launch(
    cluster: Path, out: Path, *arguments: str, yes: bool = True, detach: bool = False, attach: bool = False
) -> int:
    return launch_search(cluster, list(arguments), out=out, yes=yes, detach=detach, attach=attach)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, "--help"])
    assert ended.value.code == 0
    assert "show this help" in capsys.readouterr().out


def test_quote_needs_no_network_and_no_account(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clusters", "quote", "clusters/runpod.yaml"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "RUNPOD_API_URL": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the price file of 20" in done.stdout
    assert "most it can cost: $8.00" in done.stdout


def test_quote_falls_back_when_the_catalogue_is_out_of_reach(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNPOD_API_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("clusters.runpod.client.time.sleep", lambda seconds: None)
    assert main(["quote", str(ROOT / "clusters" / "runpod.yaml")]) == 0
    out = capsys.readouterr().out
    assert "the catalogue is out of reach" in out
    assert "the price file of 20" in out


def test_local_and_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quote", str(ROOT / "clusters" / "local.yaml")]) == 0
    assert "nothing is rented, $0.00" in capsys.readouterr().out
    assert main(["quote", str(tmp_path / "none.yaml")]) == 2
    assert "no cluster file" in capsys.readouterr().err
    assert main(["up", str(ROOT / "clusters" / "local.yaml"), "--yes"]) == 2
    assert "there is nothing to rent" in capsys.readouterr().err


def test_status_and_down_without_a_cluster(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert "no cluster is up" in capsys.readouterr().out
    assert main(["down"]) == 2
    assert "say which cluster: none" in capsys.readouterr().err


def test_down_ends_and_compares_the_bill(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    state = play.rent(a_spec())
    assert main(["status"]) == 0
    assert state.head.name in capsys.readouterr().out
    assert main(["down", state.name]) == 0
    assert "no pod is left; bill: $" in capsys.readouterr().out
    assert play.cloud.living() == []
    assert main(["status", state.name]) == 0
    assert "ended by python -m clusters down" in capsys.readouterr().out


def test_sweep_ends_what_nobody_owns_and_nothing_else(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    owned, lost = play.rent(a_spec()), play.rent(a_spec())
    (states.state_root() / "clusters" / lost.name / "state.json").unlink()
    assert main(["sweep", "--yes"]) == 0
    assert f"ended {lost.head.name}" in capsys.readouterr().out
    assert [pod.id for pod in play.cloud.living()] == [owned.head.id]
    (states.state_root() / "clusters" / owned.name / "state.json").unlink()
    states.write_private(states.state_root() / "owner", "ffffffff")  # rented from another machine
    assert main(["sweep", "--yes"]) == 0
    assert "--everyone takes those of other machines" in capsys.readouterr().out
    assert len(play.cloud.living()) == 1
    assert main(["sweep", "--yes", "--everyone"]) == 0
    assert play.cloud.living() == []


def test_a_search_that_cannot_be_is_refused_before_anything_is_rented(
    play: Play,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("clusters.launch.shutil.which", lambda tool: f"/usr/bin/{tool}")
    out = tmp_path / "run"
    assert launch(cluster, out, detach=True) == 2
    assert "--detach needs a volume or a store" in capsys.readouterr().err
    assert launch(cluster, out, attach=True) == 2
    assert "no cluster of this machine runs" in capsys.readouterr().err
    assert launch(cluster, out, yes=False) == 2
    assert "add --yes" in capsys.readouterr().err
    assert launch(cluster, out, "--notify", "https://hooks.invalid/secret") == 2
    said = capsys.readouterr().err
    assert "set DISCORD_WEBHOOK_URL" in said
    assert "secret" not in said
    states.create(a_spec(), out=out)
    assert launch(cluster, out) == 2
    assert "--attach to it" in capsys.readouterr().err
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong")
    assert launch(cluster, tmp_path / "other") == 2
    assert "refused RUNPOD_API_KEY (401" in capsys.readouterr().err
    monkeypatch.delenv("RUNPOD_API_KEY")
    assert launch(cluster, tmp_path / "other") == 2
    assert "RUNPOD_API_KEY is not set" in capsys.readouterr().err
    monkeypatch.setattr("clusters.launch.shutil.which", lambda tool: None)
    assert launch(cluster, tmp_path / "other") == 2
    assert "ssh is not installed" in capsys.readouterr().err
    (out / "trials").mkdir(parents=True)
    assert launch(cluster, out) == 2
    assert "is not empty; name another folder, or --resume" in capsys.readouterr().err
    assert play.cloud.pods == {}


def test_local_and_address_run_the_same_command_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stub = tmp_path / "breakthrough.py"
    stub.write_text("import os, sys; print(sys.argv[1:], os.environ.get('RECSYS_RAY_ADDRESS')); sys.exit(7)")
    monkeypatch.setattr("clusters.launch.SEARCH", str(stub))
    monkeypatch.delenv("RECSYS_RAY_ADDRESS", raising=False)
    local = ROOT / "clusters" / "local.yaml"
    assert launch(local, tmp_path / "run", "--trials", "3") == 7
    assert f"['--trials', '3', '--out', '{tmp_path}/run'] None" in capfd.readouterr().out
    with socket.create_server(("127.0.0.1", 0)) as head:
        there = tmp_path / "there.yaml"
        there.write_text(f"kind: address\naddress: 127.0.0.1:{head.getsockname()[1]}\n")
        assert launch(there, tmp_path / "run") == 7
        assert f"127.0.0.1:{head.getsockname()[1]}" in capfd.readouterr().out
    assert launch(there, tmp_path / "run") == 2  # nobody answers there any more
    assert "nobody answers" in capfd.readouterr().err
    assert launch(local, tmp_path / "run", detach=True) == 2
    assert "need a rented cluster" in capfd.readouterr().err
