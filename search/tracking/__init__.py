"""Tracking in MLflow: a journal on disk, and a thread that sends it when the server is there."""

from __future__ import annotations

from search.tracking.tracker import Tracker, default_uri

__all__ = ["Tracker", "default_uri"]
