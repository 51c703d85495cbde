"""Ray's private names: there in the Ray that is installed, refused in one line where they are not."""

from __future__ import annotations

import pytest
from ray.experimental import internal_kv
from ray.tune.experiment import Trial

from recsys.errors import InputError
from search.tune import ray_internals as module

MESSAGE = r"Ray [\d.]+ lacks {}, which a search needs; install the tested version"


def test_every_name_is_there() -> None:
    module.check_names()


@pytest.mark.parametrize(
    ("home", "name"),
    [(internal_kv, "_internal_kv_put"), (internal_kv, "_internal_kv_get")],
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
    with pytest.raises(InputError, match="does not return what is stored"):
        module.check_key_value_store()
