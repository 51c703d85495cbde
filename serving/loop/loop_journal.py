"""The loop's journal: a synced JSON line for each decision, and the state derived from them.

A line has a number and a checksum: one that a kill truncated is skipped (its decision is made again), any
other damage is refused.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from recsys.errors import InputError
from recsys.io import append_line
from recsys.types import JsonObject
from serving.loop.loop_decisions import LoopDecision, Phase, decide
from serving.loop.loop_settings import LoopSettings

YEAR_SECONDS = 365 * 86_400.0


@dataclass(frozen=True)
class LoopRecord:
    """A journal line. ``kind`` is "settings" (in ``evidence``), "decision" or "fault"; ``at`` is Unix
    seconds."""

    number: int
    at: float
    kind: str
    cycle: int = 0
    phase: Phase = Phase.IDLE
    evidence: JsonObject = field(default_factory=dict)
    next: Phase = Phase.IDLE
    again: bool = False
    reason: str = ""

    @property
    def moves(self) -> bool:
        """Whether a phase begins with this record."""
        return self.kind == "decision" and (self.next != self.phase or self.again)


@dataclass(frozen=True)
class LoopState:
    """State derived from the journal. ``cycle`` counts from 1; ``start`` is the evidence of its trigger and
    ``search`` that of its finished search; ``entered`` is when the phase began, Unix seconds; ``tries``
    counts the searches of the cycle."""

    phase: Phase = Phase.IDLE
    cycle: int = 0
    entered: float = 0.0
    reason: str = ""
    start: JsonObject = field(default_factory=dict)
    search: JsonObject = field(default_factory=dict)
    tries: int = 1
    settings: JsonObject = field(default_factory=dict)


class LoopJournal:
    """The journal in ``folder``, with a single writer (``loop_lease``)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal.jsonl"
        self.records = read_journal(self.path)

    def append(self, kind: str, *, at: float, **fields: object) -> LoopRecord:
        """Append a record, synced to disk. Raises OSError, after which nothing was decided."""
        number = self.records[-1].number + 1 if self.records else 1
        row: JsonObject = {"number": number, "at": at, "kind": kind, **fields}
        append_line(self.path, {"row": row, "crc": _checksum(row)})
        record = _record(row)
        self.records.append(record)
        return record

    @property
    def state(self) -> LoopState:
        """The state after the last record."""
        return state_of(self.records)


def read_journal(path: Path) -> list[LoopRecord]:
    """The records of a journal; a truncated line is skipped. Raises InputError for other damage."""
    records: list[LoopRecord] = []
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    for index, line in enumerate(lines):
        try:
            frame = json.loads(line)
            row = frame["row"]
            intact = frame["crc"] == _checksum(row)
        except (ValueError, KeyError, TypeError):
            continue  # truncated; a gap in the numbers reveals any other loss
        if not intact or row["number"] != len(records) + 1:
            raise InputError(
                f"{path}, line {index + 1}: record {row['number']} is damaged, or one before it is missing; "
                "restore the file from a backup, or move the folder away to start over"
            )
        records.append(_record(row))
    return records


def state_of(records: Sequence[LoopRecord]) -> LoopState:
    """The state after ``records``."""
    state = LoopState()
    for record in records:
        if record.kind == "settings":
            state = replace(state, settings=record.evidence)
        if not record.moves:
            continue
        if record.phase is Phase.IDLE:
            state = replace(state, cycle=record.cycle, start=record.evidence, search={}, tries=1)
        elif record.phase is Phase.SEARCH:
            state = replace(state, search=record.evidence, tries=state.tries + record.again)
        state = replace(state, phase=record.next, entered=record.at, reason=record.reason)
    return state


def spent_usd(records: Sequence[LoopRecord], now: float) -> float:
    """Cost in dollars of the searches that ended in the calendar month (UTC) of ``now``."""
    month = _month(now)
    ended = [row for row in records if row.moves and row.phase is Phase.SEARCH and _month(row.at) == month]
    return sum(float(row.evidence["usd"]) for row in ended)


def comparisons_since(records: Sequence[LoopRecord], since: float) -> int:
    """Number of comparisons that began at ``since`` or later."""
    return sum(row.moves and row.next is Phase.COMPARE and row.at >= since for row in records)


def last_cycle(records: Sequence[LoopRecord]) -> LoopRecord | None:
    """The record that began the newest cycle."""
    triggers = [row for row in records if row.moves and row.phase is Phase.IDLE]
    return triggers[-1] if triggers else None


def replay(records: Sequence[LoopRecord]) -> list[tuple[LoopRecord, LoopDecision]]:
    """Each recorded decision with the one that its evidence gives now, under the settings of its time."""
    settings = LoopSettings()
    decisions = []
    for record in records:
        if record.kind == "settings":
            settings = LoopSettings.model_validate(record.evidence)
        elif record.kind == "decision":
            decisions.append((record, decide(record.phase, record.evidence, settings)))
    return decisions


def _month(at: float) -> tuple[int, int]:
    day = datetime.fromtimestamp(at, UTC)
    return day.year, day.month


def _checksum(row: JsonObject) -> int:
    return zlib.crc32(json.dumps(row, sort_keys=True).encode())


def _record(row: JsonObject) -> LoopRecord:
    phases: JsonObject = {name: Phase(row[name]) for name in ("phase", "next") if name in row}
    return LoopRecord(**(row | phases))
