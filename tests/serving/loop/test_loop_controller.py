"""The loop's state machine: killed at any place it goes on, the same journal gives the same decisions."""

from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.errors import InputError
from recsys.types import JsonObject
from serving.loop import loop_journal
from serving.loop.loop_controller import LoopController
from serving.loop.loop_decisions import Phase
from serving.loop.loop_journal import (
    LoopJournal,
    LoopRecord,
    LoopState,
    comparisons_since,
    read_journal,
    replay,
    spent_usd,
    state_of,
)
from serving.loop.loop_lease import LEASE_SECONDS, LoopLease
from serving.loop.loop_settings import LoopSettings
from tests.serving.loop.evidence import ENOUGH

WAY = ["idle", "dataset", "search", "gate", "shadow", "compare", "rollout", "promote"]


class PlannedSteps:
    """Each phase's evidence from ``ENOUGH``."""

    def __init__(self, change: JsonObject | None = None) -> None:
        self.change = change or {}
        self.mirrored = 0

    def evidence(
        self, state: LoopState, records: list[LoopRecord], *, now: float, paused: str | None
    ) -> JsonObject:
        seen = ENOUGH[state.phase] | self.change.get(state.phase, {})
        return seen | {"paused": paused} if state.phase is Phase.IDLE else seen

    def mirror(self, records: list[LoopRecord]) -> None:
        self.mirrored = len(records)


def controller(folder: Path, steps: PlannedSteps, told: list[str] | None = None) -> LoopController:
    times = itertools.count(1_000.0)
    settings = LoopSettings(folder=str(folder), poll_seconds=0.01)
    return LoopController(
        settings, steps, notify=(told if told is not None else []).append, clock=lambda: next(times)
    )


def decisions(folder: Path) -> list[tuple[int, str, str, str]]:
    records = read_journal(folder / "journal.jsonl")
    return [(row.cycle, row.phase, row.next, row.reason) for row in records if row.kind == "decision"]


def test_a_cycle_goes_from_its_trigger_to_the_promotion(tmp_path: Path) -> None:
    told: list[str] = []
    state = controller(tmp_path, PlannedSteps(), told).run(threading.Event(), once=True)
    assert state.phase is Phase.IDLE
    assert [(phase, then) for _, phase, then, _ in decisions(tmp_path)] == [
        *itertools.pairwise(WAY),
        ("promote", "idle"),
    ]
    assert len(told) == len(WAY)
    assert told[-1].startswith("cycle 1, promote -> idle: promoted")


def test_killed_while_a_decision_is_written_it_is_made_again(tmp_path: Path) -> None:
    controller(tmp_path, PlannedSteps()).run(threading.Event(), once=True)
    whole = decisions(tmp_path)
    path = tmp_path / "journal.jsonl"
    text = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(text) if byte == ord("\n")]
    for last, end in itertools.pairwise([0, *ends]):
        for cut in ((last + end) // 2, end - 2):
            path.write_bytes(text[:cut])
            again = controller(tmp_path, PlannedSteps())
            assert len(again.journal.records) == ends.index(end)
            again.run(threading.Event(), once=True)
            assert decisions(tmp_path) == whole


def test_the_same_journal_gives_the_same_decisions(tmp_path: Path) -> None:
    change: JsonObject = {Phase.COMPARE: {"verdict": "stop", "words": "Stop: worse."}}
    controller(tmp_path, PlannedSteps(change)).run(threading.Event(), once=True)
    found = replay(read_journal(tmp_path / "journal.jsonl"))
    assert len(found) == 7
    assert all((again.next, again.reason) == (row.next, row.reason) for row, again in found)
    assert found[-1][1].reason == "the champion stays: Stop."


def test_a_changed_line_or_a_lost_one_is_refused(tmp_path: Path) -> None:
    controller(tmp_path, PlannedSteps()).run(threading.Event(), once=True)
    path = tmp_path / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines).replace("beats the champion", "loses to champions"))
    with pytest.raises(InputError, match=r"line 5: record 5 is damaged"):
        LoopJournal(tmp_path)
    path.write_text("".join(lines[:3] + lines[4:]))
    with pytest.raises(InputError, match=r"record 5 is damaged, or one before it is missing"):
        LoopJournal(tmp_path)


def test_why_nothing_begins_is_written_once(tmp_path: Path) -> None:
    counts = iter([1, 2, 3, 4])
    steps = PlannedSteps()
    loop = controller(tmp_path, steps)
    for reason in ("", "", "an experiment is under way", ""):
        steps.change = {Phase.IDLE: {"new_ratings": next(counts), "busy": reason}}
        assert not loop.step()
    reasons = [row[3] for row in decisions(tmp_path)]
    assert reasons == ["no trigger", "an experiment is under way", "no trigger"]


def test_a_fault_is_told_once_and_nothing_is_decided_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    loop = controller(tmp_path, PlannedSteps(), told)
    assert loop.step()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loop_journal, "append_line", full)
        assert [loop.step() for _ in range(5)] == [False] * 5
        assert loop.journal.state.phase is Phase.DATASET
    assert sum("No space left on device" in words for words in told) == 1
    loop.run(threading.Event(), once=True)
    assert [row[2] for row in decisions(tmp_path)] == [*WAY[1:], "idle"]


def test_a_store_that_is_away_is_told_once_and_waited_for(tmp_path: Path) -> None:
    told: list[str] = []
    steps = PlannedSteps()
    loop = controller(tmp_path, steps, told)
    here: Callable[..., JsonObject] = steps.evidence

    def away(*_: object, **__: object) -> JsonObject:
        raise ConnectionError("connection refused, port 5432")

    for _ in range(3):
        assert loop.step()
    steps.evidence = away  # type: ignore[method-assign]
    for _ in range(60):
        assert not loop.step()
    steps.evidence = here  # type: ignore[method-assign]
    loop.run(threading.Event(), once=True)
    assert [words for words in told if "refused" in words] == [
        "cycle 1, gate waits: ConnectionError: connection refused, port 5432"
    ]
    assert [row[2] for row in decisions(tmp_path)] == [*WAY[1:], "idle"]


def test_the_months_money_and_the_years_comparisons_are_counted_from_the_journal(tmp_path: Path) -> None:
    loop = controller(tmp_path, PlannedSteps())
    for _ in range(3):
        loop.run(threading.Event(), once=True)
    records = read_journal(tmp_path / "journal.jsonl")
    assert state_of(records).cycle == 3
    assert spent_usd(records, 1_000.0) == pytest.approx(3 * 1.25)
    assert spent_usd(records, 1_000.0 + 40 * 86_400) == 0
    assert comparisons_since(records, 0.0) == 3
    assert comparisons_since(records, records[-1].at) == 0


def test_of_two_controllers_the_second_is_refused(tmp_path: Path) -> None:
    with LoopLease(tmp_path), pytest.raises(InputError, match=r"a controller \(process \d+\) has this loop"):
        LoopLease(tmp_path).__enter__()
    with LoopLease(tmp_path):
        assert (tmp_path / "lease.json").is_file()


def test_another_hosts_lease_holds_until_it_expires(tmp_path: Path) -> None:
    now = [100.0]
    with LoopLease(tmp_path / "there", clock=lambda: now[0], host="there"):
        lease = (tmp_path / "there" / "lease.json").read_text()
    here = tmp_path / "here"
    here.mkdir()
    (here / "lease.json").write_text(lease)  # as a shared folder without locks shows it
    with pytest.raises(InputError, match=r"a controller on there has this loop; its lease ends in 60 s"):
        LoopLease(here, clock=lambda: now[0], host="here").__enter__()
    now[0] += LEASE_SECONDS + 1
    with LoopLease(here, clock=lambda: now[0], host="here", sleep=lambda _: None):
        assert '"host": "here"' in (here / "lease.json").read_text()
