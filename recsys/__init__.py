"""Recommenders for explicit ratings: data, models, training, ensembles, releases.

``recsys.load_release`` opens a release and answers from it; ``recsys.train`` trains one model family on a
DataFrame (``docs/guide/python.md``). Imports nothing of search, serving or clusters, and no Ray, Optuna,
MLflow or FastAPI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.quickstart import ReleasedModel, TrainedModel, load_release, train

__all__ = ["ReleasedModel", "TrainedModel", "load_release", "train"]


def __getattr__(name: str) -> Any:
    """The names of ``__all__``, imported when asked for: a server's start loads none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}; it offers {', '.join(__all__)}")
    from recsys import quickstart

    return getattr(quickstart, name)
