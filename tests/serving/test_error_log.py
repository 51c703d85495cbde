"""What goes wrong in a server is in one file, and on the console, once and in bounds."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from serving.error_log import CONSOLE_LINES, ConsoleFollower, LogFileHandler, OnceAMinute, log_to_file
from serving.server import Server
from serving.settings import read_settings
from tests.waiting import free_port


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    """The log file of this process, for the length of a test."""
    root, before = logging.getLogger(), logging.getLogger().level
    handlers = list(root.handlers)
    log_to_file(tmp_path / "logs" / "serving.log")
    yield tmp_path / "logs" / "serving.log"
    root.setLevel(before)
    root.handlers[:] = handlers


def record(text: str, *args: object, level: int = logging.ERROR) -> logging.LogRecord:
    return logging.LogRecord("serving.events", level, "file", 1, text, args, None)


def test_a_complaint_is_written_once_a_minute_with_what_was_held_back() -> None:
    clock = Clock()
    once = OnceAMinute(clock)
    passed = [once.filter(record("store away: %s", number)) for number in range(5)]
    assert passed == [True, False, False, False, False]
    assert once.filter(record("another"))
    assert all(once.filter(record("news", level=logging.INFO)) for _ in range(3))
    clock.now = 60.0
    late = record("store away: %s", 9)
    assert once.filter(late)
    assert late.getMessage() == "store away: 9 (and 4 times more since the last line)"


def test_processes_append_to_one_file_that_only_the_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "serving.log"
    code = (
        "import logging, sys; from pathlib import Path; from serving.error_log import log_to_file;"
        "log_to_file(Path(sys.argv[1])); log = logging.getLogger('serving.x');"
        "[log.error('%s line %d: ' + str(n), sys.argv[2], n) for n in range(200)]"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [process.wait(120) for process in started] == [0, 0]
    lines = path.read_text().splitlines()
    assert sorted(line.split(": ", 1)[1] for line in lines) == sorted(
        f"{name} line {n}: {n}" for name in "ab" for n in range(200)
    )
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    handler = LogFileHandler(Path("/dev/full"))
    handler.handle(record("no room"))
    assert capsys.readouterr() == ("", "")


def test_a_request_that_fails_is_in_the_file_with_its_traceback(logged: Path) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("nothing here")

    port = free_port()
    server = Server(broken, host="127.0.0.1", port=port)
    server.start()
    try:
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 500
    finally:
        server.stop()
    lines = logged.read_text().splitlines()
    assert " ERROR uvicorn.error " in lines[0]
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[-1].strip() == "KeyError: 'nothing here'"


def test_the_console_shows_each_first_line_and_survives_rotation(logged: Path) -> None:
    shown: list[str] = []
    log = logging.getLogger("serving.events")
    log.error("before the start")
    follower = ConsoleFollower(logged, show=shown.append)
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("a list failed")
    log.info("revision 2 is served")
    follower.poll()
    assert [line.split(": ")[1] for line in shown] == ["a list failed"]
    logged.rename(logged.with_suffix(".1"))
    follower.poll()
    log.error("after rotation")
    follower.poll()
    follower.poll()
    assert [line.split(": ")[1] for line in shown[1:]] == ["after rotation"]


def test_the_console_is_bounded(logged: Path) -> None:
    shown: list[str] = []
    clock = Clock()
    follower = ConsoleFollower(logged, show=shown.append, clock=clock)
    log = logging.getLogger("serving.events")
    for number in range(50):
        log.error(f"complaint {number}")
    follower.poll()
    assert len(shown) == CONSOLE_LINES + 1
    assert shown[-1] == f"more of this is in {logged}"
    clock.now = 61.0
    log.error("a minute later")
    follower.poll()
    assert shown[-1].endswith("a minute later")


def test_the_file_lies_beside_the_event_store_unless_named(tmp_path: Path) -> None:
    beside = read_settings({"events": str(tmp_path / "events.db")}, where="the test")
    assert beside.log_path == tmp_path / "events.db.log"
    named = read_settings({"log_file": str(tmp_path / "x.log")}, where="the test")
    assert named.log_path == tmp_path / "x.log"
