"""What holds for every test: Hypothesis profiles, threads, order, and MLflow's addresses put back.

``suite`` draws the same examples every time, ``fuzz`` (`make fuzz`) new and more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # an environment that serves and has no test extra: its checks need no Hypothesis
    pass
else:
    settings.register_profile("suite", derandomize=True, deadline=None, database=None)
    settings.register_profile(
        "fuzz", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# pytest-xdist starts a process a core: with a thread a core in each of them they wait for one another.
ONE_THREAD = "PYTEST_XDIST_WORKER" in os.environ
MLFLOW_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def pytest_configure(config: pytest.Config) -> None:
    """One BLAS thread in a worker of pytest-xdist: threads that wait for a core spin. Files are handed out in
    the order below, not those with most tests first."""
    if ONE_THREAD:
        import scipy.linalg  # noqa: F401 - SciPy brings a BLAS of its own beside NumPy's
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=1, user_api="blas")
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    seconds: dict[Path, float] = {}  # of the files that ask for more than most
    for item in items:
        if marker := item.get_closest_marker("timeout"):
            seconds[item.path] = max(marker.args[0], seconds.get(item.path, 0))

    def place(item: pytest.Item) -> tuple[float, int]:
        rank = 2 if item.path not in slow else 0 if item.path.parent.name == "end_to_end" else 1
        return -seconds.get(item.path, 0), rank

    items.sort(key=place)


@pytest.fixture(autouse=True)
def torch_threads() -> None:
    """One thread in a worker of pytest-xdist; children of a test choose for themselves."""
    torch = sys.modules.get("torch")
    if ONE_THREAD and torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def mlflow_addresses() -> Iterator[None]:
    """MLflow keeps the address that a test set for the whole process, and ``python -m serving`` sets one."""
    kept = {name: os.environ.get(name) for name in MLFLOW_VARIABLES}
    yield
    mlflow = sys.modules.get("mlflow")
    if hasattr(mlflow, "set_registry_uri"):  # not while another thread is still importing it
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    for name, value in kept.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
