"""An MLflow store with its tables and nothing in them: making one takes seconds, a copy nothing."""

from __future__ import annotations

import functools
import sqlite3
import tempfile
from pathlib import Path


@functools.cache
def _empty() -> bytes:
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        made, whole = Path(folder) / "made.db", Path(folder) / "whole.db"
        MlflowClient(f"sqlite:///{made}", f"sqlite:///{made}").search_registered_models()
        with sqlite3.connect(made) as store:
            store.execute("VACUUM INTO ?", (str(whole),))
        store.close()
        return whole.read_bytes()


def place_empty_mlflow(path: Path) -> str:
    """A copy at ``path``, unless something is there; its URI."""
    if not path.exists():
        path.write_bytes(_empty())
    return f"sqlite:///{path}"
