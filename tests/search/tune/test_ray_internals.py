"""Ray's private names: there in the Ray that is installed, refused in one line where they are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from ray._private import services
from ray.experimental import internal_kv
from ray.tune.experiment import Trial

from recsys.errors import InputError
from search.tune import ray_internals as module

MESSAGE = r"Ray [\d.]+ lacks {}, which a search needs; install the tested version"


def test_every_name_is_there() -> None:
    module.check_names()
    assert module.init_options(Path("/a"), None) == {"_temp_dir": "/a", "_plasma_directory": None}


@pytest.mark.parametrize(
    ("home", "name"),
    [(internal_kv, "_internal_kv_put"), (internal_kv, "_internal_kv_get"), (services, "get_node")],
)
def test_a_name_that_is_gone_is_refused_before_ray_starts(
    home: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(home, name)
    with pytest.raises(InputError, match=MESSAGE.format(rf"\S+{name}")):
        module.check_names()


def test_a_trial_without_its_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "__init__", lambda self: None)
    with pytest.raises(InputError, match=MESSAGE.format(r"\S+temporary_state")):
        module.check_names()


def test_words_that_are_not_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal_kv, "_internal_kv_put", lambda *_, **__: False)
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda *_: None)
    with pytest.raises(InputError, match="does not keep what is put into it"):
        module.check_words()


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
