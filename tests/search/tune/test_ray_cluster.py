"""The Ray of a search: local whatever RAY_ADDRESS says, joined by ``--cluster`` alone, patient when busy."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray._private import services

from recsys import local_ray
from recsys.errors import InputError
from search.breakthrough import main
from search.tune import ray_cluster as module


class FakeRay:
    """Records what ``ray.init`` was given; fails as told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls: list[dict[str, Any]] = []
        self.address: str | None = None
        self.lookups: list[str] = []  # how a node's registration is looked up in each start

    def init(self, **options: Any) -> SimpleNamespace:
        self.calls.append(options)
        self.address = os.environ.get("RAY_ADDRESS")
        self.lookups.append(services.get_node.__name__)
        if self.failures:
            raise self.failures.pop(0)
        return SimpleNamespace(address_info={"session_dir": options.get("_temp_dir")})

    def shutdown(self) -> None:
        pass

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}]


def start(monkeypatch: pytest.MonkeyPatch, fake: FakeRay) -> module.Resources:
    monkeypatch.setattr(module, "ray", fake)
    monkeypatch.setattr(local_ray, "ray", fake)
    monkeypatch.setattr(local_ray, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(local_ray, "keep_session", lambda folder: None)
    monkeypatch.setattr(module.ray_internals, "check_key_value_store", lambda: None)
    with module.ray_cluster(concurrency=1, gpus_per_trial=0, data_bytes=0) as resources:
        return resources


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "10.255.255.1:6379", "auto", "nonsense"])
def test_an_embedded_ray_is_local_whatever_the_shell_holds(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.delenv(module.JOIN_VARIABLE, raising=False)
    fake = FakeRay()
    assert start(monkeypatch, fake).address == "local"
    assert [call["address"] for call in fake.calls] == ["local"]
    assert fake.address is None  # not there while Ray is up
    assert os.environ["RAY_ADDRESS"] == address


def test_a_cluster_is_joined_where_launch_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.JOIN_VARIABLE, "head:6379")
    fake = FakeRay()
    assert start(monkeypatch, fake).address == "head:6379"
    assert fake.calls[0]["address"] == "head:6379"


def test_a_dead_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.JOIN_VARIABLE, "auto")
    with pytest.raises(InputError, match="no Ray cluster can be joined at auto: Could not find any"):
        start(monkeypatch, FakeRay(ConnectionError("Could not find any running Ray instance.")))


def test_a_cluster_that_cannot_be_joined_is_told_before_a_run_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(module.JOIN_VARIABLE, "head:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(module, "ray", FakeRay(ConnectionError("Failed to connect")))
    out = tmp_path / "run"
    assert main(["--data", "synthetic:users=60,items=40,ratings=1000", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "no Ray cluster can be joined at head:6379: Failed to connect" in said
    assert "RAY_AUTH_MODE is not set here" in said
    assert not out.exists()


def test_a_start_that_times_out_is_tried_once_more_with_more_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(module.JOIN_VARIABLE, raising=False)
    slow = Exception("The current node timed out during startup.")
    fake = FakeRay(slow)
    start(monkeypatch, fake)
    assert fake.lookups == ["get_node", "patient"]
    assert services.get_node.__name__ == "get_node"  # put back
    with pytest.raises(TimeoutError, match="twice: is the machine overloaded"):
        start(monkeypatch, FakeRay(slow, slow))
    with pytest.raises(Exception, match="broken"):
        start(monkeypatch, FakeRay(Exception("broken")))
