"""The Ray Serve application, on an embedded Ray or on a cluster.

``build`` is the ``import_path`` of the YAML. ``serve_here`` runs an embedded Ray on 127.0.0.1:
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, which must be set before Ray is imported, makes Ray bind all of its ports
to loopback (its default on macOS). Serve's own HTTP proxies are off: replicas listen themselves
(``server.py``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recsys.errors import InputError
from serving.autoscaling import autoscaling_config
from serving.domain import ExperimentState
from serving.error_log import ConsoleFollower
from serving.metric_snapshots import clear_metrics
from serving.server import listener
from serving.settings import Settings, read_settings
from serving.startup_checks import (
    arms_text,
    check_exposure,
    check_metrics,
    check_releases,
    check_segments,
    difference,
    find_releases,
    named_state,
    resolve_experiment,
)
from serving.stop_signals import stop_event

APPLICATION = "recommendations"
GRACE_SECONDS = 20.0  # after the drain, for open requests and queued events of a replica
STOP_SECONDS = 90.0  # after the drain, for all replicas and Ray itself
OBJECT_STORE_BYTES = 100_000_000  # nothing of ours passes through it
RAY_TOKEN = Path("~/.ray/auth_token")


def build(args: dict[str, Any]) -> Any:
    """The Serve application of ``args``, which are ``serving.settings.Settings`` as JSON."""
    from serving.operations_replica import OperationsReplica
    from serving.recommender_replica import RecommenderReplica

    settings = read_settings(args, where="args")
    check_exposure(settings)
    resolve_experiment(settings)
    replica: Any = RecommenderReplica  # the decorator makes it a deployment; Ray ships no types
    operations: Any = OperationsReplica
    fields = settings.model_dump(mode="json")
    if settings.autoscaling is None:
        number: dict[str, Any] = {"num_replicas": settings.replicas}
    else:
        number = {"autoscaling_config": autoscaling_config(settings.autoscaling, settings.replicas)}
    grace = settings.drain_seconds + GRACE_SECONDS
    replicas = replica.options(graceful_shutdown_timeout_s=grace, **number)
    return replicas.bind(fields, operations.bind(fields))


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Serve config file, and the ``args`` of our application in it. Raises InputError."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        applications = [
            application
            for application in config["applications"]
            if application["import_path"] == "serving.app:build"
        ]
        return config, dict(applications[0].get("args") or {})
    except FileNotFoundError:
        raise InputError(f"there is no {path}; serving/serve.yaml is one to start from") from None
    except (yaml.YAMLError, KeyError, TypeError, IndexError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a Serve config with an application of import_path serving.app:build ({error})"
        ) from None


@dataclass(frozen=True)
class Start:
    """A validated start: the state to serve, the folders of its releases, and when it ``began``."""

    state: ExperimentState
    folders: list[Path]
    began: float


def check_start(settings: Settings, *, reset: bool = False) -> Start:
    """The quick checks of a start. Raises InputError where the server cannot start."""
    began = time.perf_counter()
    check_exposure(settings)
    listener(settings.host, settings.port, shared=False).close()
    state = resolve_experiment(settings, reset=reset)
    folders = find_releases(state)
    check_segments(settings.experiment.segments, folders[0])
    check_metrics(settings, state, folders[0])
    return Start(state, folders, began)


def serve_here(settings: Settings, start: Start) -> int:
    """Start Ray and the application, wait for Ctrl-C or SIGTERM, and shut down gracefully."""
    clear_metrics(settings.metrics_path)
    follower = ConsoleFollower(settings.log_path)
    _environment()
    with ThreadPoolExecutor(1) as pool:
        # Hashing releases overlaps with starting Ray.
        checked = pool.submit(check_releases, start.folders)
        ray_seconds = _start_ray(settings)
        try:
            checked.result()
            _run_application(settings)
        except BaseException:
            _stop(settings)
            raise
    ready = time.perf_counter() - start.began
    _print_ready(settings, start.state, ready, ray_seconds)
    follower.start()
    stop = stop_event(signal.SIGINT, signal.SIGTERM)
    while not stop.wait(0.5):  # a signal may wake another thread than this one, which handles it
        pass
    print("stopping: finishing open requests", flush=True)
    follower.stop()
    _stop(settings)
    return 0


def deploy(path: Path, *, address: str, reset: bool = False) -> int:
    """Deploy the YAML on an existing cluster; returns when the application runs."""
    config, args = read_yaml(path)
    settings = read_settings(args, where=str(path))
    if RAY_TOKEN.expanduser().exists():  # `ray start` creates it, and then requires it
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # attempts of up to half a minute
    import ray
    from ray import serve

    from serving.ray_patches import check_names

    check_names()
    try:
        _check_reachable(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except OSError as problem:
        raise InputError(
            f"cannot connect to a Ray cluster at {address}: {problem}; is it up, and is its token here "
            f"(RAY_AUTH_MODE=token with {RAY_TOKEN} or RAY_AUTH_TOKEN_PATH)?"
        ) from None
    serve.start(proxy_location=config.get("proxy_location", "Disabled"), logging_config=_log_level())
    state = resolve_experiment(settings, reset=reset)
    serve.run(build(settings.model_dump(mode="json")), name=APPLICATION, route_prefix=None)
    _print_served(settings, state)
    number = str(settings.replicas)
    if settings.most_replicas > settings.replicas:
        number += f" to {settings.most_replicas}"
    print(f"deployed {path}: {number} replicas listen on port {settings.port} of their nodes")
    return 0


def _check_reachable(address: str) -> None:
    """Raises OSError where nothing listens at a host:port, since Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in address and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


def _environment() -> None:
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray runs workers at nice 15, for batch work; a replica has 40 ms to answer.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A request is computed on one core.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _start_ray(settings: Settings) -> float:
    """Start the embedded Ray; returns the seconds it took."""
    began = time.perf_counter()
    from ray import serve

    from recsys.local_ray import start_local_ray
    from serving.ray_patches import check_names

    check_names()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    os.environ.pop("RAY_ADDRESS", None)  # of another cluster
    start_local_ray(cpus=settings.most_replicas + 3, store_bytes=OBJECT_STORE_BYTES, name="ray-recsys")
    serve.start(proxy_location="Disabled", logging_config=_log_level())
    return time.perf_counter() - began


def _run_application(settings: Settings) -> None:
    from ray import serve

    serve.run(
        build(settings.model_dump(mode="json")),
        name=APPLICATION,
        route_prefix=None,
        logging_config=_log_level(),
    )


def _log_level() -> dict[str, Any]:
    return {"log_level": "WARNING", "enable_access_log": False}


def _print_served(settings: Settings, state: ExperimentState) -> None:
    """Print the state in service, and how it differs from the command line."""
    notice = difference(named_state(settings), state)
    if notice:
        print(f"note: {notice}")
    print(f"serving revision {state.revision} of {state.name}: {arms_text(state)}", flush=True)


def _print_ready(settings: Settings, state: ExperimentState, ready: float, ray_seconds: float) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"http://{host}:{settings.port}"
    key = "" if settings.loopback else "-H 'X-API-Key: ...' "
    _print_served(settings, state)
    print(f"errors are shown here and logged to {settings.log_path}")
    print(f"ready in {ready:.1f} s ({ray_seconds:.1f} s of it to start Ray)")
    print(f"{where}/  the page      {where}/docs  the API")
    print(f"curl {key}'{where}/v1/users/1/recommendations?count=10'", flush=True)


def _stop(settings: Settings) -> None:
    """Shut down Serve and Ray; ``STOP_SECONDS`` after the drain the process group is killed."""
    import ray
    from ray import serve

    if not ray.is_initialized():
        return
    last = threading.Timer(settings.drain_seconds + STOP_SECONDS, os.killpg, (os.getpgrp(), signal.SIGKILL))
    last.daemon = True
    last.start()
    with _silence():
        serve.shutdown()
        ray.shutdown()
    last.cancel()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard output: Ray reports actors that end on purpose, partly from threads and to stdout."""
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    saved = [os.dup(number) for number in (1, 2)]
    devnull = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(devnull, number)
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        for number, file in zip((1, 2), saved, strict=True):
            os.dup2(file, number)
            os.close(file)
        os.close(devnull)
