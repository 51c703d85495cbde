"""The run-time catalogue and the rules of one replica, kept in step with the event store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from serving.catalogue.item_overlay import ItemOverlay
from serving.catalogue.rule_set import RuleSet
from serving.engine.release_loader import Deployment
from serving.engine.served_release import ServedRelease
from serving.engine.stored_lists import StoredLists
from serving.events.item_log import item_changes, newest_items
from serving.events.rule_log import RuleRevision, newest_rules
from serving.events.store import EventStore


class LiveCatalogue:
    """``overlay`` and ``rules`` are what lists obey now. Not locked: its owner's calls take turns."""

    def __init__(
        self,
        store: EventStore,
        rules: RuleSet,
        *,
        stored_lists: Callable[[ServedRelease, RuleSet], StoredLists | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._stored_lists = stored_lists
        self._clock = clock
        self.overlay = ItemOverlay(at=clock())
        self.rules = RuleRevision(0, rules)

    def refresh(self) -> bool:
        """Reads what was changed since the last call, and lets windows open and close.

        Returns:
            Whether lists may be different now. What the store raises is raised after the windows.
        """
        before = (self.overlay, self.rules)
        try:
            newest = newest_rules(self._store)
            if newest is not None and newest.revision > self.rules.revision:
                self.rules = newest
            self._read_items()
        finally:
            now = self._clock()
            if self.overlay.next_change <= now:
                self.overlay = replace(self.overlay, at=now)
        return self.overlay is not before[0] or self.rules is not before[1]

    def _read_items(self) -> None:
        if self.overlay.seq:
            numbered = list(item_changes(self._store, after=self.overlay.seq))
            seq, changed = (numbered[-1][0] if numbered else 0), [item for _, item in numbered]
        else:
            seq, changed = newest_items(self._store)
        if changed:
            self.overlay = self.overlay.with_changes(changed, seq=seq, at=self._clock())

    def applied(self, deployment: Deployment) -> Deployment:
        """``deployment`` as the catalogue and the rules are now; itself where it is already."""
        changed = {id(loaded): self._applied(loaded) for loaded in deployment.arms.values()}
        arms = {name: changed[id(loaded)] for name, loaded in deployment.arms.items()}
        if all(arms[name] is loaded for name, loaded in deployment.arms.items()):
            return deployment
        return replace(deployment, arms=arms)

    def _applied(self, loaded: ServedRelease) -> ServedRelease:
        rules = self.rules.rules
        same_rules = loaded.rule_set == rules
        if same_rules and loaded.view.overlay is self.overlay:
            return loaded
        stored = loaded.stored if same_rules else self._stored_lists(loaded, rules)
        return loaded.under(self.overlay, rules, stored)
