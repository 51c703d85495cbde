"""The actions of all phases; and the copy of the journal that the operations page reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy.engine import make_url

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.events.audit import newest
from serving.events.store import EventStore
from serving.loop.live_steps import LiveSteps
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import LoopRecord, LoopState
from serving.loop.loop_settings import LoopSettings
from serving.loop.training_steps import TrainingSteps
from serving.settings import Settings


class LoopSteps:
    """``served`` are the server's settings: event store, experiment and metrics."""

    def __init__(self, settings: LoopSettings, served: Settings) -> None:
        url = settings.events or served.events
        self.store = EventStore(url)
        self.experiment = served.experiment.name
        self.folder = Path(settings.folder).absolute()
        self._training = TrainingSteps(
            settings, self.store, events=_without_password(url), experiment=self.experiment
        )
        self._live = live = LiveSteps(settings, self.store, served.operations.as_settings(served.experiment))
        self._phases: dict[Phase, Callable[[LoopState, float], JsonObject]] = {
            Phase.DATASET: self._training.dataset,
            Phase.SEARCH: self._training.search,
            Phase.GATE: self._training.gate,
            Phase.SHADOW: live.shadow,
            Phase.COMPARE: live.compare,
            Phase.ROLLOUT: live.rollout,
            Phase.PROMOTE: live.promote,
            Phase.BACK: live.back,
        }

    def evidence(
        self, state: LoopState, records: list[LoopRecord], *, now: float, paused: str | None
    ) -> JsonObject:
        """Act in ``state.phase`` and return its evidence. Raises what the store and the search raise."""
        if state.phase is Phase.IDLE:
            idle_evidence = self._training.idle(records, now, paused)
            serving = self.store.experiment(self.experiment)
            if serving is not None and not idle_evidence["busy"]:
                try:
                    self._live.rules(serving)
                except InputError as error:  # before a search is paid for
                    idle_evidence["busy"] = str(error)
            return idle_evidence
        try:
            return self._phases[state.phase](state, now)
        except InputError as error:  # a release or a metric is missing: the candidate is removed
            if state.phase not in (Phase.SHADOW, Phase.COMPARE, Phase.ROLLOUT):
                raise
            return {"changed": str(error), "lost_events": 0, "ended": None}

    def mirror(self, records: list[LoopRecord]) -> None:
        """Copy the journal to the event store."""
        mirror_records(self.store, records, experiment=self.experiment, folder=self.folder)


def mirror_records(
    store: EventStore, records: Sequence[LoopRecord], *, experiment: str, folder: Path
) -> None:
    """Copy records of the loop in ``folder`` that the event store's journal lacks; the operations page reads
    them there."""
    mirrored = newest(store, ("loop",), subject=experiment, count=1)
    last = mirrored[0].data if mirrored and mirrored[0].data.get("folder") == str(folder) else {}
    for record in records:
        if record.kind != "settings" and record.number > last.get("number", 0):
            row = asdict(record) | {"folder": str(folder), "moves": record.moves}
            store.append("loop", experiment, row, at=record.at)


def _without_password(events: str) -> str:
    """The store's address without its password, which is put into PGPASSWORD."""
    if "://" not in events:
        return str(Path(events).absolute())
    url = make_url(events)
    if isinstance(url.password, str):
        os.environ.setdefault("PGPASSWORD", url.password)
    return url.set(password=None).render_as_string(hide_password=False)
