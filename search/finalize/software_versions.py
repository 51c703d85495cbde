"""Which software a run was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("movielens-breakthrough", "ray", "torch", "optuna", "numpy", "pandas", "mlflow")


def versions() -> dict[str, str]:
    """Package and Python versions; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
