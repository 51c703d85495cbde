from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from serving.events.event_writer import EventWriter, StoreUnavailable
from serving.events.store import EventConflict, EventStore
from tests.serving.events.checks import exposure, told
from tests.waiting import wait_for


def test_feedback_is_acknowledged_after_its_commit(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool")
    futures = [writer.add_feedback([told(f"e{n}"), told("same")]) for n in range(50)]
    new = [future.result(timeout=120) for future in futures]
    assert [f"e{n}" in result for n, result in enumerate(new)] == [True] * 50
    assert sum("same" in result for result in new) == 1
    assert len(list(EventStore(str(tmp_path / "events.db")).feedback())) == 51
    writer.close()


def test_a_conflict_refuses_its_body_and_no_other(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool")
    first = told("same")
    futures = [
        writer.add_feedback([first]),
        writer.add_feedback([replace(first, item_id="another"), told("alone")]),
        writer.add_feedback([told("other"), first]),
    ]
    assert futures[0].result(timeout=120) == {"same"}
    with pytest.raises(EventConflict, match="event_id same:"):
        futures[1].result(timeout=120)
    assert futures[2].result(timeout=120) == {"other"}
    assert {row.event_id for row in store.feedback()} == {"same", "other"}
    assert writer.available
    writer.close()


def test_exposures_are_written_behind_and_on_closing(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool", flush_seconds=60)
    for n in range(1_234):
        writer.add_exposure(exposure(f"x{n}"))
    writer.close()
    assert len(list(store.exposures())) == 1_234
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_store_that_is_away_loses_no_exposure_and_acknowledges_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = EventStore(str(path))
    writer = EventWriter(store, folder=tmp_path / "spool", queue=10)
    writer.add_feedback([told("before")]).result(timeout=120)
    path.rename(tmp_path / "away.db")
    with pytest.raises(StoreUnavailable):
        writer.add_feedback([told("lost?")]).result(timeout=120)
    assert not writer.available
    for n in range(100):  # ten times what the queue holds
        writer.add_exposure(exposure(f"x{n}"))
    assert writer.waiting == 10
    (tmp_path / "away.db").rename(path)
    wait_for(lambda: writer.available and len(list(store.exposures())) == 100)
    assert writer.add_feedback([told("after")]).result(timeout=120) == {"after"}
    assert [row.event_id for row in store.feedback()] == ["before", "after"]
    assert writer.lost == 0
    writer.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_the_store_cannot_take_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    store = EventStore(str(tmp_path / "events.db"))
    writer = EventWriter(store, folder=tmp_path / "spool")
    writer.add_feedback([told("warm")]).result(timeout=120)
    bad = writer.add_feedback([told("bad", user_id="\ud800")])
    good = writer.add_feedback([told("good")])
    assert good.result(timeout=120) == {"good"}
    with pytest.raises(UnicodeError):
        bad.result(timeout=120)
    writer.close()


PROGRAM = """
import sys
from pathlib import Path
from serving.events.store import EventStore
from serving.events.event_writer import EventWriter
from tests.serving.events.checks import exposure, told
from tests.waiting import wait_for
writer = EventWriter(EventStore(sys.argv[1]), folder=Path(sys.argv[2]), flush_seconds=0.05)
for n in range(10**9):
    writer.add_exposure(exposure(f"x{n}"))
    print(f"x{n}", flush=True)
    if n % 20 == 0:
        writer.add_feedback([told(f"e{n}")]).result(timeout=120)
        print(f"e{n}", flush=True)
"""


def test_kill_9_loses_nothing_that_was_answered_or_acknowledged(tmp_path: Path) -> None:
    url, folder = str(tmp_path / "events.db"), tmp_path / "spool"
    command = [sys.executable, "-c", PROGRAM, url, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    answered = [process.stdout.readline().strip() for _ in range(700)]
    os.kill(process.pid, signal.SIGKILL)
    answered += process.stdout.read().split("\n")[:-1]
    process.wait()
    store = EventStore(url)
    writer = EventWriter(store, folder=folder)
    writer.add_feedback([told("later")]).result(timeout=120)
    stored = {row.exposure_id for row in store.exposures()} | {row.event_id for row in store.feedback()}
    assert set(answered) - stored == set()
    assert sum(name.startswith("e") for name in answered) > 10
    assert len(list(folder.iterdir())) == 2  # the dead process's files are gone
    writer.close()
