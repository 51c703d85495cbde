"""The loop's journal: appended, synced, one framed JSON line a decision, and the state that follows from it.

A line holds its number and a checksum: one that was cut short by a kill at the end of the file is passed
over (its decision is made again), any other damage is refused.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """``kind`` is "settings" (``evidence`` holds them whole), "decision" or "fault"; ``at`` Unix seconds."""

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
        """Whether a phase begins with it."""
        return self.kind == "decision" and (self.next != self.phase or self.again)


@dataclass(frozen=True)
class LoopState:
    """What follows from the journal. ``cycle`` counts from 1; ``start`` is the evidence of its trigger,
    ``search`` of its ended search; ``entered`` when the phase began, ``tries`` the searches of the cycle."""

    phase: Phase = Phase.IDLE
    cycle: int = 0
    entered: float = 0.0
    reason: str = ""
    start: JsonObject = field(default_factory=dict)
    search: JsonObject = field(default_factory=dict)
    tries: int = 1
    settings: JsonObject = field(default_factory=dict)


class LoopJournal:
    """The journal in ``folder``; one process writes it (``loop_lease``)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "journal.jsonl"
        self.records = read_journal(self.path)

    def append(self, kind: str, *, at: float, **fields: object) -> LoopRecord:
        """Synced before it returns. Raises OSError; then nothing was decided."""
        number = self.records[-1].number + 1 if self.records else 1
        row: JsonObject = {"number": number, "at": at, "kind": kind, **fields}
        append_line(self.path, {"row": row, "crc": _checksum(row)})
        record = _record(row)
        self.records.append(record)
        return record

    @property
    def state(self) -> LoopState:
        return state_of(self.records)


def read_journal(path: Path) -> list[LoopRecord]:
    """Raises InputError for a line, other than one cut short by a kill, that is not as it was written."""
    records: list[LoopRecord] = []
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    for index, line in enumerate(lines):
        try:
            frame = json.loads(line)
            row = frame["row"]
            intact = frame["crc"] == _checksum(row)
        except (ValueError, KeyError, TypeError):
            continue  # cut short; a gap in the numbers shows any other loss
        if not intact or row["number"] != len(records) + 1:
            raise InputError(
                f"{path}, line {index + 1}: record {row['number']} is damaged, or one before it is missing; "
                "put the file back from a backup, or move the folder away to begin anew"
            )
        records.append(_record(row))
    return records


def state_of(records: Sequence[LoopRecord]) -> LoopState:
    """The fold of the journal."""
    phase, cycle, entered, reason, tries = Phase.IDLE, 0, 0.0, "", 1
    start: JsonObject = {}
    search: JsonObject = {}
    settings: JsonObject = {}
    for record in records:
        if record.kind == "settings":
            settings = record.evidence
        if not record.moves:
            continue
        if record.phase is Phase.IDLE:
            cycle, start, search, tries = record.cycle, record.evidence, {}, 1
        elif record.phase is Phase.SEARCH:
            search = record.evidence
            tries += record.again
        phase, entered, reason = record.next, record.at, record.reason
    return LoopState(phase, cycle, entered, reason, start, search, tries, settings)


def spent_usd(records: Sequence[LoopRecord], now: float) -> float:
    """Dollars of the searches that ended in the calendar month (UTC) of ``now``."""
    month = _month(now)
    ended = [row for row in records if row.moves and row.phase is Phase.SEARCH and _month(row.at) == month]
    return sum(float(row.evidence["usd"]) for row in ended)


def comparisons_since(records: Sequence[LoopRecord], since: float) -> int:
    """Comparisons with users that were begun at ``since`` or later."""
    return sum(row.moves and row.next is Phase.COMPARE and row.at >= since for row in records)


def last_cycle(records: Sequence[LoopRecord]) -> LoopRecord | None:
    """The trigger of the newest cycle."""
    triggers = [row for row in records if row.moves and row.phase is Phase.IDLE]
    return triggers[-1] if triggers else None


def replay(records: Sequence[LoopRecord]) -> list[tuple[LoopRecord, LoopDecision]]:
    """Each recorded decision with the one that its evidence gives today, under the settings of then."""
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
