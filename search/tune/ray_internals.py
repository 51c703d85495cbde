"""Ray's names that it does not promise to keep: all that a search needs of them, here and nowhere else.

``check_names`` runs before Ray is started: a release of Ray that has dropped one is refused then, in one
line, rather than by a trial that cannot be stopped an hour later.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.experimental import internal_kv
from ray.tune.experiment import Trial

from recsys.errors import InputError


def check_names() -> None:
    """Refuse a Ray that lacks a name used here.

    Raises:
        InputError: the names, and the version that has them.
    """
    needed: dict[str, bool] = {
        "ray.experimental.internal_kv._internal_kv_put": hasattr(internal_kv, "_internal_kv_put"),
        "ray.experimental.internal_kv._internal_kv_get": hasattr(internal_kv, "_internal_kv_get"),
        "ray.tune.experiment.Trial.temporary_state": has_temporary_state(Trial),
    }
    missing = [name for name, there in needed.items() if not there]
    if missing:
        raise InputError(
            f"Ray {ray.__version__} lacks {', '.join(missing)}, which a search needs; "
            "install the tested version: python -m pip install -c constraints.txt 'ray[tune]'"
        )


def has_temporary_state(kind: type[Trial]) -> bool:
    """Whether a trial of ``kind`` sets its ``temporary_state`` when it is made."""
    return "temporary_state" in kind.__init__.__code__.co_names


def put_value(key: bytes, value: str) -> None:
    """Store ``value`` in the cluster's key-value store."""
    internal_kv._internal_kv_put(key, value.encode(), overwrite=True)


def get_value(key: bytes) -> str | None:
    """The value stored under ``key``, or None."""
    value = internal_kv._internal_kv_get(key)
    return None if value is None else str(value.decode())


def check_key_value_store() -> None:
    """Prove that a stop request will reach a worker: a value stored in the running cluster is read back.

    Raises:
        InputError: it does not.
    """
    put_value(b"breakthrough/check", "here")
    if get_value(b"breakthrough/check") != "here":
        raise InputError(
            "this Ray cluster's key-value store does not return what is stored in it: restart it"
        )


def actor_of(trial: Trial) -> Any | None:
    """The process that runs ``trial``, None where it does not run."""
    return trial.temporary_state.ray_actor
