"""Running aggregates of exposures and feedback by user and arm: memory grows with the number of users.

The unit is the user, who was randomised. A user stays in the arm of their first exposure, also when changed
shares later show them another: dropping returning users would remove the active ones from a shrinking arm. A
conversion is feedback that counts (``metrics``) on an item of the exposure, once for each exposure and item.
A user's outcome is final ``window_seconds`` after their first exposure: only then do they enter the
comparison, and late events do not change them, so the test sees one fixed value a user. Sessions without a
user id are excluded.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from recsys.data.event_store import ANONYMOUS
from serving.domain import Exposure, Feedback
from serving.experiments.experiment_metrics import DEFAULT_METRICS, Metric

# Latencies in logarithmic bins of 2% from 0.01 ms: p99 to within 1%, with 1,000 counters an arm.
BIN_GROWTH = math.log(1.02)
LATENCY_BINS = 1000
COVERAGE_USERS = 50
CLOCK_SLACK_SECONDS = 10.0  # that feedback may precede its exposure


@dataclass(slots=True)
class UserAggregates:
    """One user of an experiment."""

    arm: str
    revision: int
    first_at: float
    crossed: bool = False
    exposures: int = 0
    seen: int = 0  # exposures with an impression or a conversion
    worth: dict[str, float] = field(default_factory=dict)  # by metric, added up over exposures
    counted: bool = False  # used by a comparison: the outcome is final
    merged: int = 0  # interleaved lists
    credit: dict[tuple[str, str], float] = field(default_factory=dict)  # by metric and arm
    squared_error: float = 0.0
    rated: int = 0
    first_slow: bool = False  # of the first list: known at entry, never changed by later events
    first_fallback: bool = False


@dataclass(slots=True)
class ArmAggregates:
    """One arm of an experiment."""

    exposures: int = 0
    shadows: int = 0
    shadow_fallbacks: int = 0
    conversions: int = 0
    squared_error: float = 0.0
    rated: int = 0
    brought: int = 0
    credited: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    items: set[str] = field(default_factory=set)
    latency: list[int] = field(default_factory=lambda: [0] * LATENCY_BINS)
    # By block of time: answers, slow ones, fallbacks. By COVERAGE_USERS users: items in their first lists.
    blocks: dict[int, list[int]] = field(default_factory=dict)
    coverage: list[int] = field(default_factory=list)
    _first_items: set[str] = field(default_factory=set)
    _first_users: int = 0

    def add_answer(self, block: int, *, slow: bool, fallback: bool) -> None:
        """Count an answer in its block of time."""
        counts = self.blocks.setdefault(block, [0, 0, 0])
        counts[0] += 1
        counts[1] += slow
        counts[2] += fallback

    def add_first_list(self, items: tuple[str, ...]) -> None:
        """Count a user's first list in the coverage of its group of COVERAGE_USERS users."""
        self._first_items.update(items)
        self._first_users += 1
        if self._first_users == COVERAGE_USERS:
            self.coverage.append(len(self._first_items))
            self._first_items, self._first_users = set(), 0

    def percentile(self, share: float) -> float | None:
        """The latency in milliseconds at quantile ``share``, None without answers."""
        counts = np.cumsum(self.latency)
        if counts[-1] == 0:
            return None
        index = int(np.searchsorted(counts, share * counts[-1]))
        return 0.01 * math.exp((index + 0.5) * BIN_GROWTH)


def latency_bin(milliseconds: float) -> int:
    """The bin of a latency."""
    return min(LATENCY_BINS - 1, max(0, int(math.log(max(milliseconds, 0.01) / 0.01) / BIN_GROWTH)))


@dataclass
class Aggregates:
    """One experiment. ``left_out`` counts, by reason, events that no comparison may use."""

    arms: frozenset[str]
    window_seconds: float
    users: dict[str, UserAggregates] = field(default_factory=dict)
    by_arm: defaultdict[str, ArmAggregates] = field(default_factory=lambda: defaultdict(ArmAggregates))
    left_out: Counter[str] = field(default_factory=Counter)
    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    slow_milliseconds: float = 50.0
    block_seconds: float = 60.0
    interleaved: bool = False
    _converted: set[tuple[str, str]] = field(default_factory=set)
    _worth: dict[tuple[str, str], float] = field(default_factory=dict)  # by metric and exposure
    _credited: dict[tuple[str, str, str], float] = field(default_factory=dict)  # and by item
    _seen: set[str] = field(default_factory=set)
    latest_at: float = 0.0

    def matured(self, user: UserAggregates, now: float) -> bool:
        """Whether the user's window is over, which makes their outcome final."""
        return now >= user.first_at + self.window_seconds

    def add_exposure(self, exposure: Exposure) -> None:
        """Add an exposure; one of an unknown arm is counted in ``left_out``."""
        if exposure.arm not in self.arms:
            self.left_out["unknown arm"] += 1
            return
        arm = self.by_arm[exposure.arm]
        arm.latency[latency_bin(exposure.milliseconds)] += 1
        arm.items.update(exposure.items)
        slow, fallback = exposure.milliseconds > self.slow_milliseconds, exposure.source == "popular"
        arm.add_answer(int(exposure.at // self.block_seconds), slow=slow, fallback=fallback)
        if exposure.shadow:
            arm.shadows += 1
            arm.shadow_fallbacks += exposure.source == "popular"
            return
        if exposure.user_id.startswith(ANONYMOUS):
            self.left_out["list for a session without a user id"] += 1
            return
        if self.interleaved and not exposure.teams:
            self.left_out["list that was not interleaved"] += 1
        for team in exposure.teams:
            if team in self.arms:
                self.by_arm[team].brought += 1
        arm.exposures += 1
        arm.sources[exposure.source] += 1
        user = self.users.get(exposure.user_id)
        if user is None:
            user = self.users[exposure.user_id] = UserAggregates(exposure.arm, exposure.revision, exposure.at)
            user.first_slow, user.first_fallback = slow, fallback
            arm.add_first_list(exposure.items)
        user.crossed |= user.arm != exposure.arm
        if exposure.at < user.first_at and not user.counted:
            # A clock went back, or a batch came late: the earlier time is the entry, with its arm and
            # revision, since the share in force must be that of the entry.
            self.left_out["late exposure, entry moved back"] += 1
            user.first_at, user.arm, user.revision = exposure.at, exposure.arm, exposure.revision
            user.first_slow, user.first_fallback = slow, fallback
        if user.counted:
            self.left_out["list of a user already counted"] += 1
        elif exposure.at < user.first_at + self.window_seconds:
            user.exposures += 1
            user.merged += bool(exposure.teams)
        self.latest_at = max(self.latest_at, exposure.at)

    def add_feedback(self, feedback: Feedback, exposure: Exposure | None) -> None:
        """Add feedback with its exposure, None for an unknown one."""
        if feedback.exposure_id is None:
            if feedback.kind != "rating" and any(feedback.kind in metric.events for metric in self.metrics):
                self.left_out[f"{feedback.kind} without an exposure"] += 1
            return
        if exposure is None:
            self.left_out["unknown exposure"] += 1
            return
        if exposure.shadow or exposure.user_id.startswith(ANONYMOUS):
            return
        if exposure.arm not in self.arms:
            self.left_out["unknown arm"] += 1
            return
        if exposure.user_id != feedback.user_id:
            self.left_out["another user's exposure"] += 1
            return
        if feedback.at < exposure.at - CLOCK_SLACK_SECONDS:
            self.left_out["before its exposure"] += 1
            return
        arm = self.by_arm[exposure.arm]
        user = self.users.get(exposure.user_id)
        if user is not None and feedback.at >= user.first_at + self.window_seconds:
            user = None
        if user is not None and user.counted:
            self.left_out["late: the user's outcome was already fixed"] += 1
            user = None
        self._convert(arm, user, feedback, exposure)
        if feedback.kind == "rating" and feedback.value is not None and feedback.predicted is not None:
            error = (feedback.value - feedback.predicted) ** 2
            arm.squared_error += error
            arm.rated += 1
            if user is not None:
                user.squared_error += error
                user.rated += 1
        self.latest_at = max(self.latest_at, feedback.at)

    def _convert(
        self, arm: ArmAggregates, user: UserAggregates | None, feedback: Feedback, exposure: Exposure
    ) -> None:
        """Count the conversions of one event; ``user`` is None outside of the window."""
        seen = feedback.kind == "impression"
        for index, metric in enumerate(self.metrics):
            rule = metric.events.get(feedback.kind)
            weight = (
                0.0
                if rule is None or feedback.item_id not in exposure.items
                else rule.weight_of(feedback.value)
            )
            if weight <= 0:
                continue
            seen = True
            key = (exposure.exposure_id, feedback.item_id or "")
            if index == 0 and key not in self._converted:  # an arm's hit rate is that of the primary metric
                self._converted.add(key)
                arm.conversions += 1
            if user is not None and exposure.teams:
                self._credit(user, metric.name, exposure, feedback.item_id or "", weight)
            before = self._worth.get((metric.name, exposure.exposure_id), 0.0)
            if user is not None and weight > before:
                self._worth[metric.name, exposure.exposure_id] = weight
                user.worth[metric.name] = user.worth.get(metric.name, 0.0) + weight - before
        if seen and user is not None and exposure.exposure_id not in self._seen:
            self._seen.add(exposure.exposure_id)
            user.seen += 1

    def _credit(
        self, user: UserAggregates, metric: str, exposure: Exposure, item_id: str, weight: float
    ) -> None:
        """Credit the arm that contributed an item with its largest conversion, once for each list."""
        arm, key = exposure.teams[exposure.items.index(item_id)], (metric, exposure.exposure_id, item_id)
        more = weight - self._credited.get(key, 0.0)
        if arm and more > 0:
            if metric == self.metrics[0].name and key not in self._credited:
                self.by_arm[arm].credited += 1
            self._credited[key] = weight
            user.credit[metric, arm] = user.credit.get((metric, arm), 0.0) + more
