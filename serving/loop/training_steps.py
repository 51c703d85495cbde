"""The phases before a candidate is in service: trigger, dataset, search, gate.

All actions are idempotent, so that they can be repeated after a kill.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, select

from recsys.data.data_spec import base_source
from recsys.data.event_ratings import read_served
from recsys.data.merged_ratings import merge_served
from recsys.errors import InputError
from recsys.release.load import load_release, read_manifest
from recsys.types import JsonObject
from serving.events.audit import newest
from serving.events.event_tables import FEEDBACK, ITEMS
from serving.events.store import EventStore
from serving.loop.arm_plan import arms_json, busy
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import (
    YEAR_SECONDS,
    LoopRecord,
    LoopState,
    comparisons_since,
    last_cycle,
    spent_usd,
)
from serving.loop.loop_settings import LoopSettings
from serving.loop.rented_data import is_rented, rented_data
from serving.loop.search_process import SearchProcess, search_command
from serving.release_registry import gate_verdict, release_id_of, resolve

HOUR = 3600.0
GRACE_HOURS = 1.0  # beyond its cap, for a search to end by itself


class TrainingSteps:
    """``events`` is the event store's address without a password."""

    def __init__(self, settings: LoopSettings, store: EventStore, *, events: str, experiment: str) -> None:
        self.settings = settings
        self.store = store
        self.events = events
        self.experiment = experiment
        self.folder = Path(settings.folder).absolute()

    def idle(self, records: list[LoopRecord], now: float, paused: str | None) -> JsonObject:
        """Evidence for the triggers."""
        last = last_cycle(records)
        watermark = last.evidence["watermark"] if last else 0
        rated = (FEEDBACK.c.kind == "rating", FEEDBACK.c.seq > watermark)
        with self.store.engine.connect() as connection:
            new, highest = connection.execute(
                select(func.count(), func.max(FEEDBACK.c.seq)).where(*rated)
            ).one()
            items = connection.scalar(select(func.max(ITEMS.c.seq)))
            if last and not new:  # a restored backup counts from lower numbers
                new, highest = self._rated_since(connection, last, watermark)
        drift = newest(self.store, ("drift",), since=last.at if last else None)
        serving = self.store.experiment(self.experiment)
        why = busy(serving, self.experiment)
        spent = spent_usd(records, now)
        evidence: JsonObject = {
            "paused": paused,
            "busy": why,
            "hours_since": (now - last.at) / HOUR if last else None,
            "new_ratings": int(new),
            "watermark": int(highest or watermark),
            "items_watermark": int(items or 0),
            "drifted": sorted({str(row.data["signal"]) for row in drift}),
            "spent_usd": spent,
            "cap_usd": min(self.settings.search.max_usd, self.settings.search.month_usd - spent),
            "comparisons": comparisons_since(records, now - YEAR_SECONDS),
        }
        if serving is None or why:
            return evidence
        baseline = next(arm for arm in serving.arms if arm.share > 0)
        folder = resolve(baseline.release)
        run = self._data_run(Path(self.settings.run or folder.parent).absolute(), records)
        return evidence | {
            "experiment": self.experiment,
            "share": self.settings.comparison.share,
            "kind": self.settings.comparison.kind,
            "arms": arms_json(serving),
            "baseline": baseline.name,
            "served_release": read_manifest(folder).release_id,
            "run": run,
            # The best configurations of the last run; the data below the events are those of ``run``.
            "start_from": str(folder.parent if (folder.parent / "run.json").is_file() else run),
        }

    def _rated_since(
        self, connection: Connection, last: LoopRecord, watermark: int
    ) -> tuple[int, int | None]:
        """In a store whose numbers end below the watermark: the ratings since the last trigger, and the last
        number; (0, None) in any other."""
        newest_seq = connection.scalar(select(func.max(FEEDBACK.c.seq))) or 0
        if newest_seq >= watermark:
            return 0, None
        rated = (FEEDBACK.c.kind == "rating", FEEDBACK.c.at > last.at)
        new, highest = connection.execute(select(func.count(), func.max(FEEDBACK.c.seq)).where(*rated)).one()
        return int(new), highest

    def dataset(self, state: LoopState, _: float) -> JsonObject:
        """Evidence on the merged data."""
        self.store.ping()  # an unavailable one is a fault, which is retried
        try:
            base = base_source(Path(state.start["run"]), self.events).load()
            merged = merge_served(base, read_served(self._pinned(state), base.ratings.scale))
        except InputError as error:  # another catalogue or a missing run, where a retry does not help
            return {"served": 0, "ratings": 0, "refused": str(error)}
        return (merged.lineage or {}) | {"ratings": len(merged.ratings), "sha256": merged.sha256}

    def search(self, state: LoopState, now: float) -> JsonObject:
        """Start or follow the search; evidence is how it ended, and its cost."""
        process, settings = self._process(state), self.settings.search
        cap = float(state.start["cap_usd"])
        command = search_command(
            process,
            data=self._data(state),
            start_from=Path(state.start["start_from"]),
            plan=settings.plan,
            usd=cap,
            hours=settings.max_hours,
            price_usd=settings.price_usd,
            cluster=settings.cluster,
            options=settings.options,
        )
        process.start(command, number=state.tries)
        hours, code = (now - state.entered) / HOUR, process.exit_code(state.tries)
        if code is None:
            if hours > settings.max_hours + GRACE_HOURS:
                process.end(state.tries)
            return {"exit_code": None, "hours": hours}
        results = process.results()
        release = process.run / "release"
        # A failed search on a cluster counts with its full cap: its cost is unknown.
        unknown = cap if settings.cluster else 0.0
        return {
            "exit_code": code,
            "tries": state.tries,
            "hours": hours,
            "cap_usd": cap,
            "usd": float((results.get("budget") or {}).get("usd", unknown)),
            "status": results.get("status", ""),
            "release": str(release) if (release / "manifest.json").is_file() else "",
            "last_lines": process.last_lines(),
        }

    def gate(self, state: LoopState, _: float) -> JsonObject:
        """Evidence of the promotion gate."""
        release = state.search["release"]
        try:
            load_release(Path(release))
        except InputError as error:  # no server could load it
            return {"promoted": None, "reason": str(error)}
        verdict = gate_verdict(release)
        figures = self._process(state).results().get("promotion") or {}
        named = ("ratings", "rmse", "champion_rmse", "difference", "low", "high", "level", "attempt")
        champion = figures.get("champion")
        return {name: figures.get(name) for name in named} | {
            "promoted": verdict.promoted,
            "reason": verdict.reason,
            "champion": champion,
            "champion_release": release_id_of(champion) if champion else None,
            "served_release": state.start["served_release"],
        }

    def _data(self, state: LoopState) -> list[str]:
        """The data options of the cycle's search; not used once its run exists."""
        run, events, process = Path(state.start["run"]), self._pinned(state), self._process(state)
        if is_rented(self.settings.search.cluster) and not (process.run / "run.json").is_file():
            return rented_data(run, events, process.folder)
        return ["--data", f"{run}+{events}"]

    def _data_run(self, run: Path, records: list[LoopRecord]) -> str:
        """The run with the base data: for a run that this loop made, the base of its cycle."""
        for row in records:
            made_here = self._folder_of(row.cycle) / "run"
            if row.moves and row.phase is Phase.IDLE and run.resolve() == made_here.resolve():
                return str(row.evidence["run"])
        return str(run)

    def _folder_of(self, cycle: int) -> Path:
        return self.folder / f"cycle-{cycle:04d}"

    def _pinned(self, state: LoopState) -> str:
        """The event store up to the trigger's rows, so that a resumed search reads the same data."""
        # Older journals have no watermark of items.
        marks = [state.start[name] for name in ("watermark", "items_watermark") if name in state.start]
        return f"{self.events}#{','.join(map(str, marks))}"

    def _process(self, state: LoopState) -> SearchProcess:
        return SearchProcess(self._folder_of(state.cycle))
