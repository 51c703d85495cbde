"""Exposures and feedback as the comparisons of experiments are tested on: short to write."""

from __future__ import annotations

from serving.domain import Exposure, Feedback


def make_exposure(
    exposure_id: str,
    at: float,
    user_id: str,
    arm: str,
    revision: int,
    items: tuple[str, ...],
    source: str = "personal",
    milliseconds: float = 1.0,
    shadow: bool = False,
    teams: tuple[str, ...] = (),
) -> Exposure:
    return Exposure(
        exposure_id, at, user_id, "main", arm, revision, "release", items, (), source, milliseconds, shadow,
        teams=teams,
    )  # fmt: skip


def make_feedback(
    event_id: str,
    exposure_id: str | None,
    user_id: str,
    kind: str,
    item_id: str | None,
    value: float | None,
    predicted: float | None,
    at: float,
) -> Feedback:
    return Feedback(event_id, exposure_id, user_id, kind, item_id, value, at, predicted)
