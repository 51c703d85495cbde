"""Offline replay: the same ratings in the same order against the releases directly, without a service."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from recsys.models.base import History
from recsys.release.queries import Query
from serving.assignment import Assigner
from serving.catalogue.rule_set import RuleSet
from serving.domain import ExperimentState
from serving.engine.served_release import ServedRelease
from serving.experiments.experiment_metrics import Metric
from serving.release_registry import resolve
from serving.replay.traffic import Traffic


@dataclass
class OfflineMetrics:
    """One arm: ``rmse`` in stars over ``rated`` ratings, ``hit_rate`` of ``answers`` lists."""

    answers: int = 0
    hits: int = 0
    rated: int = 0
    squared_error: float = 0.0

    @property
    def rmse(self) -> float | None:
        return math.sqrt(self.squared_error / self.rated) if self.rated else None

    @property
    def hit_rate(self) -> float | None:
        return self.hits / self.answers if self.answers else None


def offline_metrics(
    state: ExperimentState, traffic: Traffic, *, count: int = 10
) -> dict[str, OfflineMetrics]:
    """Metrics by arm. Each list and prediction is made before its rating is added to the history."""
    assigner = Assigner(state)
    arms = {
        arm.name: ServedRelease(arm.release, Path(resolve(arm.release)), RuleSet(), verify=False)
        for arm in state.arms
    }
    metrics = {name: OfflineMetrics() for name in arms}
    scale = arms[state.arms[0].name].release.manifest.dataset.scale
    liked = Metric().on_scale(scale.low, scale.high).events["rating"]
    history_of: dict[str, dict[str, float]] = {}
    for user, item, value in zip(
        traffic.users.tolist(), traffic.items.tolist(), traffic.values.tolist(), strict=True
    ):
        arm = assigner.assign(user).arm
        loaded, figures = arms[arm], metrics[arm]
        history: History | None = loaded.rows.history(user, history_of[user]) if user in history_of else None
        query = Query(user=loaded.rows.user(user), history=history, count=count)
        row = loaded.rows.item(item)
        listed = loaded.recommender.recommend([query], loaded.rules)[0]
        figures.answers += 1
        if row is not None:
            listed_rows = {recommendation.item for recommendation in listed.recommendations}
            figures.hits += liked.weight_of(value) > 0 and row in listed_rows
            stars = float(loaded.recommender.predict(query, loaded.rows.items([item]))[0])
            figures.squared_error += (value - stars) ** 2
            figures.rated += 1
        # Replaced, never mutated: ServedRelease.history caches by identity.
        history_of[user] = {**history_of.get(user, {}), item: value}
    return metrics
