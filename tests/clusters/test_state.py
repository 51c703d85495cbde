"""The memory of a cluster: private, atomic, shared between driver and watchdog."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from clusters import state as states
from clusters.cluster_errors import ClusterError
from clusters.state import Node
from tests.clusters.played.playing import a_spec


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_what_is_saved_comes_back_equal(tmp_path: Path) -> None:
    state = states.create(a_spec(), out=tmp_path / "run")
    state = states.record_node(state.name, Node("p1", "n1", 0.5, 100.0))
    state = states.record_node(state.name, Node("p1", "n1", 0.5, 100.0, host="h", port=22))
    assert states.load(state.name) == state
    assert (len(state.nodes), state.head.host, state.run) == (1, "h", "run")
    assert state.cluster_spec == a_spec()


def test_files_are_for_their_owner_only() -> None:
    state = states.create(a_spec())
    folder = states.folder(state.name)
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_ended_machines_count_in_the_bill() -> None:
    state = states.create(a_spec())
    states.record_node(state.name, Node("a", "a", 1.0, 0.0))
    states.record_node(state.name, Node("b", "b", 2.0, 1800.0))
    state = states.record_ended(state.name, {"a"}, now=3600.0)
    assert state.spent_usd(3600.0) == pytest.approx(1.0 + 2.0 * 0.5)
    assert [node.id for node in state.nodes] == ["b"]
    assert state.usd_per_hour == 2.0


def _add(number: int, name: str) -> None:
    for step in range(10):
        states.record_node(name, Node(f"{number}-{step}", "n", 0.0, 0.0))


def test_two_processes_do_not_lose_each_others_words() -> None:
    state = states.create(a_spec())
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(number, state.name)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(states.load(state.name).nodes) == 40


def test_an_unknown_or_strange_name_is_refused() -> None:
    with pytest.raises(ClusterError, match="no cluster 'abc' on this machine"):
        states.load("abc")
    with pytest.raises(ClusterError, match="is not a cluster's name"):
        states.folder("../elsewhere")


def test_the_owner_is_the_same_every_time() -> None:
    assert states.owner_id() == states.owner_id()
    assert len(states.owner_id()) == 8
