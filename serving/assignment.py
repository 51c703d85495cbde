"""Assignment of users to arms: the same in every replica and after a restart, with minimal moves.

A hash of (salt, user id) maps a user to one of a million slots. Each arm has ranges of slots, which are
stored with the experiment's state. When shares change, ``reallocate`` releases ends of the ranges of arms
that shrink, and gives them to those that grow: the users who move are exactly the sum of the growths (90/10
to 80/20: 10% of the users, all from the first arm to the second), the minimum. Ranges derived from the shares
alone could not do that for three or more arms.

The holdout is drawn by a second hash, so that changing it moves nobody else.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import Literal

from recsys.errors import InputError
from serving.domain import ArmSpec, ExperimentState, SlotRange

SLOTS = 1_000_000
AssignmentReason = Literal["share", "holdout", "override"]


@dataclass(frozen=True)
class Assignment:
    """An arm and the reason: only users assigned by ``share`` count in the experiment."""

    arm: str
    reason: AssignmentReason


class Assigner:
    """Assigns users in one state of an experiment."""

    def __init__(self, state: ExperimentState) -> None:
        check_shares(state)
        state = state if state.ranges else reallocate(state, None)
        ranges = sorted(state.ranges, key=lambda piece: piece.start)
        self._starts = [piece.start for piece in ranges]
        self._assignments = [Assignment(piece.arm, "share") for piece in ranges]
        self._prefix = f"{state.salt}\0".encode()
        self._holdout_prefix = f"{state.salt}\0holdout\0".encode()
        self._held_out = round(state.holdout * SLOTS)
        self._control = Assignment(state.arms[0].name, "holdout")
        self._overrides = {user: Assignment(arm, "override") for user, arm in state.overrides.items()}

    def assign(self, user_id: str) -> Assignment:
        """The arm of a user."""
        if self._overrides and user_id in self._overrides:
            return self._overrides[user_id]
        name = user_id.encode("utf-8", "surrogatepass")
        if self._held_out and _slot(self._holdout_prefix + name) < self._held_out:
            return self._control
        return self._assignments[bisect_right(self._starts, _slot(self._prefix + name)) - 1]


def _slot(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % SLOTS


def check_shares(state: ExperimentState) -> None:
    """Raises InputError for an invalid state."""
    names = [arm.name for arm in state.arms]
    shares = [arm.share for arm in state.arms]
    if not names or len(set(names)) != len(names):
        raise InputError(f"an experiment needs arms with different names, got {names}")
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in [*shares, state.holdout]):
        raise InputError(f"shares and the holdout lie between 0 and 1, got {shares} and {state.holdout}")
    if abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"the arms' shares must sum to 1, got {shares} = {sum(shares):g}")
    if state.kind == "interleaved":
        drawn = [arm.name for arm in state.arms if arm.explore > 0]
        if drawn:
            raise InputError(f"interleaved lists do not explore, so explore must be 0: {drawn}")
        if names[0] not in state.interleaved_arms or len(state.interleaved_arms) < 2:
            raise InputError(
                f"an interleaved experiment merges the first arm's lists with others': {names[0]!r} and "
                f"another arm need a share above 0, got {shares}"
            )
    visible = [arm.name for arm in state.arms if arm.shadow and arm.share > 0]
    if visible:
        raise InputError(f"a shadow arm is never shown, so its share must be 0: {visible}")
    unknown = sorted(set(state.overrides.values()) - set(names))
    if unknown:
        raise InputError(f"overrides name arms that are not there: {unknown}; there are {names}")


def reallocate(state: ExperimentState, before: ExperimentState | None) -> ExperimentState:
    """``state`` with ranges for its shares that move as few users as possible since ``before``."""
    check_shares(state)
    targets = _targets(state.arms)
    control = state.arms[0].name
    ranges: list[SlotRange] = []
    free: list[tuple[int, int]] = []
    for arm in dict.fromkeys(piece.arm for piece in before.ranges) if before else ():
        # The first arm releases its highest slots and the others their lowest: a reverted ramp removes the
        # users who came last.
        pieces = [piece for piece in before.ranges if piece.arm == arm] if before else []
        for piece in sorted(pieces, key=lambda piece: piece.start, reverse=arm != control):
            stays = min(piece.end - piece.start, targets.get(arm, 0))
            cut = piece.start + stays if arm == control else piece.end - stays
            retained, released = (piece.start, cut), (cut, piece.end)
            if arm != control:
                retained, released = released, retained
            if stays:
                ranges.append(SlotRange(arm, *retained))
                targets[arm] -= stays
            if released[0] < released[1]:
                free.append(released)
    free = sorted(free) if before and before.ranges else [(0, SLOTS)]
    for spec in state.arms:
        while targets[spec.name]:
            start, end = free.pop(0 if spec.name == control else -1)
            count = min(end - start, targets[spec.name])
            targets[spec.name] -= count
            if spec.name == control:
                ranges.append(SlotRange(spec.name, start, start + count))
                rest = (start + count, end)
            else:
                ranges.append(SlotRange(spec.name, end - count, end))
                rest = (start, end - count)
            if rest[0] < rest[1]:
                free.insert(0 if spec.name == control else len(free), rest)
    return replace(state, ranges=_merge_ranges(ranges))


def _targets(arms: tuple[ArmSpec, ...]) -> dict[str, int]:
    """Slots of each arm by the largest-remainder method; they sum to ``SLOTS``."""
    exact = {arm.name: arm.share * SLOTS for arm in arms}
    targets = {name: int(share + 1e-6) for name, share in exact.items()}
    order = sorted(exact, key=lambda name: targets[name] - exact[name])
    for index in range(SLOTS - sum(targets.values())):
        targets[order[index % len(order)]] += 1
    return targets


def _merge_ranges(pieces: list[SlotRange]) -> tuple[SlotRange, ...]:
    joined: list[SlotRange] = []
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if joined and joined[-1].arm == piece.arm and joined[-1].end == piece.start:
            joined[-1] = SlotRange(piece.arm, joined[-1].start, piece.end)
        else:
            joined.append(piece)
    return tuple(joined)
