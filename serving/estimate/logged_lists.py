"""Logged lists of exploring arms, joined with the lists that another release would have served.

The release sees a user's history in its own data, and their ratings through the service before the list, as a
server would have.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recsys.data.event_store import ANONYMOUS
from recsys.release.queries import Query
from serving.catalogue.rule_set import RuleSet
from serving.domain import Exposure
from serving.engine.exploration import CANDIDATES_PER_POSITION, MAX_EXPLORE
from serving.engine.served_release import ServedRelease
from serving.estimate.off_policy import Explored
from serving.events.store import EventStore
from serving.experiments.experiment_metrics import Metric

BATCH = 200  # lists computed at once


@dataclass
class _Logged:
    """A logged list with its converted items, and the user's earlier ratings."""

    exposure: Exposure
    ratings: dict[str, float]
    hits: set[str] = field(default_factory=set)


def explored_lists(
    store: EventStore, release: Path, *, experiment: str, metric: Metric, since: float = 0.0
) -> list[Explored]:
    """One entry for each user of an exploring arm, by the time of their first list; [] without exploration.

    Args:
        release: the folder of the release to estimate.
        metric: defines a hit; its weights are not used.
    """
    rows = [
        exposure
        for exposure in store.exposures(since=since, experiment=experiment)
        if not exposure.shadow and not exposure.user_id.startswith(ANONYMOUS) and exposure.propensities
    ]
    exploring = {exposure.arm for exposure in rows if min(exposure.propensities) < 1}
    rows = sorted(
        (exposure for exposure in rows if exposure.arm in exploring), key=lambda exposure: exposure.at
    )
    if not rows:
        return []
    loaded = ServedRelease("estimate", release, RuleSet())
    logged = _with_feedback(store, rows, metric, loaded, since)
    largest = _largest_weight(rows)
    users: dict[str, Explored] = {}
    for entry, listed in _lists(loaded, logged):
        explored = _explored(entry, listed, largest)
        before = users.get(entry.exposure.user_id)
        users[entry.exposure.user_id] = explored if before is None else _added(before, explored)
    return list(users.values())


def _with_feedback(
    store: EventStore, rows: list[Exposure], metric: Metric, loaded: ServedRelease, since: float
) -> list[_Logged]:
    scale = loaded.release.manifest.dataset.scale
    rules = metric.on_scale(scale.low, scale.high).events
    ratings: dict[str, list[tuple[float, str, float]]] = defaultdict(list)
    hits: dict[str, set[str]] = defaultdict(set)
    for event in store.feedback():
        if event.item_id is None:
            continue
        if event.kind == "rating" and event.value is not None:
            ratings[event.user_id].append((event.at, event.item_id, event.value))
        rule = rules.get(event.kind)
        if event.exposure_id is not None and rule is not None and rule.weight_of(event.value) > 0:
            hits[event.exposure_id].add(event.item_id)
    return [
        _Logged(
            exposure,
            {item: value for at, item, value in sorted(ratings[exposure.user_id]) if at < exposure.at},
            hits[exposure.exposure_id] & set(exposure.items),
        )
        for exposure in rows
    ]


def _lists(loaded: ServedRelease, logged: list[_Logged]) -> Iterator[tuple[_Logged, set[str]]]:
    """Each logged list with the ids of the release's list."""
    for start in range(0, len(logged), BATCH):
        batch = logged[start : start + BATCH]
        queries = [
            Query(
                user=loaded.rows.user(entry.exposure.user_id),
                history=loaded.rows.history(entry.exposure.user_id, entry.ratings) if entry.ratings else None,
                count=len(entry.exposure.items),
            )
            for entry in batch
        ]
        answers = loaded.recommender.recommend(queries, loaded.rules)
        for entry, answer in zip(batch, answers, strict=True):
            yield entry, {loaded.card(row.item)["id"] for row in answer.recommendations}


def _explored(entry: _Logged, listed: set[str], largest: float) -> Explored:
    exposure = entry.exposure
    weights = {
        item: 1 / _probability(propensity, len(exposure.items))
        for item, propensity in zip(exposure.items, exposure.propensities, strict=True)
        if item in listed
    }
    return Explored(
        lists=1,
        places=len(exposure.items),
        shown=float(len(exposure.items)),
        hits=float(len(entry.hits)),
        weight=sum(weights.values()),
        weighted_hits=sum(weights[item] for item in entry.hits & weights.keys()),
        largest=largest,
    )


def _probability(propensity: float, places: int) -> float:
    """Probability of an item anywhere in the list: an explored item may be at any position, others have
    one."""
    return propensity if propensity > MAX_EXPLORE else propensity * places


def _largest_weight(rows: list[Exposure]) -> float:
    """The largest sum of a list's weights under the exploration policy: an explored position shows one of
    (CANDIDATES_PER_POSITION - 1) n pool items, n more where new items are explored, another one an item of
    the list."""
    share = max(1 - max(shown.propensities) for shown in rows)
    shares = {round(1 - max(shown.propensities), 9) for shown in rows} - {0.0}
    places = max(len(shown.items) for shown in rows)
    if not shares:
        return float(places)
    explored = [shown for shown in rows if min(shown.propensities) <= MAX_EXPLORE]
    pools = [
        (1 - max(exposure.propensities)) / min(exposure.propensities) / len(exposure.items)
        for exposure in explored
    ]
    deepest = CANDIDATES_PER_POSITION - 1 + (max(pools, default=0) > CANDIDATES_PER_POSITION - 1 + 1e-6)
    drawn = max(math.ceil(places * explored_share) * deepest / explored_share for explored_share in shares)
    return drawn + places / (1 - share)


def _added(one: Explored, other: Explored) -> Explored:
    return Explored(
        lists=one.lists + other.lists,
        places=max(one.places, other.places),
        shown=one.shown + other.shown,
        hits=one.hits + other.hits,
        weight=one.weight + other.weight,
        weighted_hits=one.weighted_hits + other.weighted_hits,
        largest=max(one.largest, other.largest),
    )
