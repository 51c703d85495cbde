"""Search and serve agree on where MLflow's default store lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.errors import InputError
from search.tracking.tracker import default_uri
from serving.__main__ import use_local_registry
from serving.release_registry import resolve


def test_search_and_serve_look_into_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    use_local_registry()
    assert os.environ["MLFLOW_TRACKING_URI"] == default_uri(Path("runs/first"), environment={})
    with pytest.raises(InputError, match=r"there is no store at sqlite:///.*/runs/mlflow\.db"):
        resolve("models:/made-up@champion")
