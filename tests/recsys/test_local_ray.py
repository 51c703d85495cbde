"""A Ray of one's own: started patiently, refused in one line where a name of Ray's is gone."""

from __future__ import annotations

import itertools

import pytest
from ray._private import services

from recsys import local_ray as module
from recsys.errors import InputError


def test_a_name_that_is_gone_is_refused_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    module.check_start_names()
    monkeypatch.delattr(services, "get_node")
    with pytest.raises(InputError, match=r"Ray [\d.]+ lacks \S+get_node, .* install the tested version"):
        module.start_local_ray(cpus=1, store_bytes=1)


def test_a_node_that_registers_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(0.0, 10.0)
    answers = iter([RuntimeError("not yet")] * 6)

    def get_node(address: str, node: str) -> dict[str, str]:
        if (error := next(answers, None)) is not None:
            raise error
        return {"address": address, "node": node}

    monkeypatch.setattr(services, "get_node", get_node)
    with module.node_patience(180, clock=lambda: next(seconds), sleep=lambda _: None):
        assert services.get_node("head", "n1") == {"address": "head", "node": "n1"}
    assert services.get_node is get_node


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(0.0, 10.0)

    def never(*_: str) -> None:
        raise RuntimeError("not yet")

    monkeypatch.setattr(services, "get_node", never)
    with (
        module.node_patience(180, clock=lambda: next(seconds), sleep=lambda _: None),
        pytest.raises(RuntimeError, match="not yet"),
    ):
        services.get_node("head", "n1")
