"""A Ray of this process's own, for a search or a server: on this machine, in short folders.

Ray's private names that this takes stand here; ``check_start_names`` runs before Ray is started.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import services

from recsys.errors import InputError
from recsys.machine import ensure_ray_token, object_store_folder, ray_folder
from recsys.ray_sessions import keep_session

NODE_LOOKUP = "get_node"  # of ``services``: raises RuntimeError until the new node has registered
PAUSE_SECONDS = 15  # before Ray is started again on a machine that was too busy for it
PATIENCE_SECONDS = 180.0  # the second start's; Ray's own is 30


def check_start_names() -> None:
    """Refuse a Ray that lacks a name used here.

    Raises:
        InputError: the name, and the version that has it.
    """
    if not hasattr(services, NODE_LOOKUP):
        raise InputError(
            f"Ray {ray.__version__} lacks ray._private.services.{NODE_LOOKUP}, which its start needs; "
            "install the tested version: python -m pip install -c constraints.txt ray"
        )


def start_local_ray(*, cpus: int, store_bytes: int, name: str = "ray") -> None:
    """Start it, a second time with more patience where the machine was too busy for the first.

    Args:
        cpus: What Ray schedules.
        store_bytes: Of its object store; a folder on disk where shared memory cannot hold it.
        name: Of the folder for its sessions.

    Raises:
        InputError: No folder can hold Ray's sockets, or this Ray lacks a name used here.
        TimeoutError: It was too busy twice.
        Exception: Ray's own, where it does not start for another reason.
    """
    check_start_names()
    ensure_ray_token()
    folder = ray_folder(name)
    store_folder = object_store_folder(store_bytes, folder)
    if store_folder is not None:
        os.environ.setdefault("RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE", "1")

    def start() -> None:
        context: Any = ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=store_bytes,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder),
            _plasma_directory=None if store_folder is None else str(store_folder),
        )
        keep_session(Path(context.address_info["session_dir"]))

    try:
        start()
    except Exception as error:
        ray.shutdown()
        if "timed out" not in str(error).lower():
            raise
        print(f"Ray did not start in time: once more, with up to {PATIENCE_SECONDS:.0f} s for it", flush=True)
        time.sleep(PAUSE_SECONDS)
        with node_patience(PATIENCE_SECONDS):
            try:
                start()
            except Exception as again:
                ray.shutdown()
                if "timed out" not in str(again).lower():
                    raise
                raise TimeoutError("Ray did not start in time, twice: is the machine overloaded?") from None


@contextmanager
def node_patience(
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Wait up to ``seconds`` for a node that Ray starts to register, where Ray itself waits for 30."""
    original = getattr(services, NODE_LOOKUP)

    def patient(*arguments: Any, **options: Any) -> Any:
        end = clock() + seconds
        while True:
            try:
                return original(*arguments, **options)
            except RuntimeError:
                if clock() >= end:
                    raise
                sleep(1.0)

    setattr(services, NODE_LOOKUP, patient)
    try:
        yield
    finally:
        setattr(services, NODE_LOOKUP, original)
