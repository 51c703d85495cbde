"""The releases that a state of the experiment needs, opened beside those that answer now.

``prepare`` does everything slow (find, hash, map, warm up) in one thread of low priority, so that requests
go before it, and returns a new ``Deployment``; whoever wants it served stores that reference. A request
takes the reference once and finishes with what it took: nothing is locked, dropped or mixed. What no state
needs any more is let go of with its last request.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from recsys.release.candidates import FIXED_CANDIDATES_SCHEMA
from recsys.release.load import read_manifest
from serving.assignment import Assigner, Assignment
from serving.catalogue.rule_set import RuleSet
from serving.domain import ExperimentState
from serving.engine.background_lists import ListJob
from serving.engine.list_precomputation import lists_folder
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import StoredLists, open_lists

NICE = 10  # of the thread that opens releases


@dataclass(frozen=True)
class Deployment:
    """One revision of the experiment and what answers for it."""

    state: ExperimentState
    arms: dict[str, ServedRelease]
    assigner: Assigner

    @property
    def control(self) -> ServedRelease:
        return self.arms[self.state.arms[0].name]

    @property
    def scale(self) -> tuple[float, float]:
        """The first arm's lowest and highest rating, in stars."""
        scale = self.control.release.manifest.dataset.scale
        return scale.low, scale.high

    def serves_as(self, other: Deployment, stored: ExperimentState) -> bool:
        """Whether this is what ``other`` serves as ``stored``: the same state and the same releases."""
        same = replace(self.state, revision=stored.revision, ranges=stored.ranges) == stored == other.state
        ids = [{name: arm.release_id for name, arm in one.arms.items()} for one in (self, other)]
        return same and ids[0] == ids[1]

    def assign(self, user_id: str, forced: str | None) -> Assignment:
        """The arm of a user; ``forced`` (it must exist) is somebody who asks for one by name."""
        return self.assigner.assign(user_id) if forced is None else Assignment(forced, "override")

    def interleaves(self, assignment: Assignment) -> bool:
        """Whether somebody assigned like that is shown the arms' lists merged; testers see an arm's own."""
        return self.state.kind == "interleaved" and assignment.reason == "share"

    @cached_property
    def explore(self) -> dict[str, float]:
        """The share of explored places of each arm."""
        return {arm.name: arm.explore for arm in self.state.arms}

    @property
    def explores(self) -> bool:
        """Whether any arm gives places to explored items."""
        return any(self.explore.values())

    @cached_property
    def shadows(self) -> list[str]:
        return [arm.name for arm in self.state.arms if arm.shadow]


class ReleaseLoader:
    """Opens releases, each once. ``resolve`` finds the folder of what an arm names."""

    def __init__(self, rules: RuleSet, resolve: Callable[[str], Path], *, lists: Path | None = None) -> None:
        self._rules = rules
        self._lists = lists
        self._resolve = resolve
        # One: two big releases opened at once would only slow each other down.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="fleet", initializer=_lower_priority)

    def load(self, state: ExperimentState, before: Deployment | None) -> Deployment:
        """Raises InputError for shares that cannot be or a release that cannot be trusted; whatever was
        served goes on being served."""
        return self._loader.submit(self._load, state, before).result()

    def _load(self, state: ExperimentState, before: Deployment | None) -> Deployment:
        assigner = Assigner(state)
        opened = {} if before is None else {loaded.release_id: loaded for loaded in before.arms.values()}
        arms: dict[str, ServedRelease] = {}
        for arm in state.arms:
            folder = self._resolve(arm.release)
            release_id = read_manifest(folder).release_id
            if release_id not in opened:
                loaded = ServedRelease(arm.release, folder, self._rules)
                loaded.stored = self.stored_lists(loaded, self._rules)
                loaded.warm_up()
                opened[release_id] = loaded
            arms[arm.name] = opened[release_id]
        return Deployment(state, arms, assigner)

    def stored_lists(self, loaded: ServedRelease, rules: RuleSet) -> StoredLists | None:
        """What ``precompute`` has made of this release under ``rules``, mapped, not read."""
        if self._lists is None:
            return None
        folder = lists_folder(self._lists, loaded.release_id, rules)
        return open_lists(folder, len(loaded.release.users))

    def list_job(self, loaded: ServedRelease, core_share: float) -> ListJob | None:
        """How the lists of a release are made, None where they are not stored."""
        if self._lists is None or loaded.release.manifest.schema_version < FIXED_CANDIDATES_SCHEMA:
            return None
        return ListJob.of(loaded.folder, self._lists, loaded.rule_set, core_share=core_share)

    def with_state(self, prepared: Deployment, saved: ExperimentState) -> Deployment:
        """``prepared`` as it was stored: with its revision and ranges."""
        return Deployment(saved, prepared.arms, Assigner(saved))


def _lower_priority() -> None:
    """Linux keeps a nice value for each thread: the loader's own, not the process's. Elsewhere it stays."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
