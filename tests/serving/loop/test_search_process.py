"""The search as a process: found again after the controller's end, its exit code and last lines kept."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from search.breakthrough import parser
from serving.loop.search_process import SearchProcess, search_command
from tests.waiting import wait_for


def ended(process: SearchProcess, number: int = 1) -> int:
    wait_for(lambda: process.exit_code(number) is not None)
    code = process.exit_code(number)
    assert code is not None
    return code


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_its_exit_code_and_last_lines_are_kept(tmp_path: Path) -> None:
    process = SearchProcess(tmp_path / "cycle")
    process.start(program("print('one'); print('two'); raise SystemExit(1)"), number=1)
    assert ended(process) == 1
    assert process.last_lines() == "one | two"
    process.start(program("print('three')"), number=2)
    assert ended(process, 2) == 0
    assert ended(process, 1) == 1
    assert process.last_lines().endswith("two | three")


def test_a_second_controller_finds_it_and_starts_none_beside_it(tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    wait = f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.02)"
    text = f"import os, time; open({str(mark)!r}, 'a').write('x')\n{wait}"
    SearchProcess(tmp_path).start(program(text), number=1)
    again = SearchProcess(tmp_path)
    for _ in range(3):
        again.start(program(text), number=1)
        assert again.exit_code(1) is None
    (tmp_path / "go").touch()
    assert ended(again) == 0
    again.start(program(text), number=1)
    assert mark.read_text() == "x"


def test_one_that_was_asked_to_end_says_so_and_one_that_was_killed_is_started_again(tmp_path: Path) -> None:
    process = SearchProcess(tmp_path)
    text = f"import pathlib, time; pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(600)"
    for number, signal_number in ((1, signal.SIGTERM), (2, signal.SIGKILL)):
        process.start(program(text), number=number)
        wait_for(lambda: (tmp_path / "up").exists())
        (tmp_path / "up").unlink()
        if signal_number is signal.SIGTERM:
            process.end(number)
            assert ended(process, number) == 143
        else:
            os.killpg(int(process.process_file(number).read_text()), signal_number)
    wait_for(lambda: not process.alive(2))
    process.start(program("print('again')"), number=2)
    assert ended(process, 2) == 0
    assert process.last_lines().endswith("again")


def test_where_nothing_can_be_written_no_search_is_started_and_the_exit_code_needs_no_room(
    tmp_path: Path,
) -> None:
    process = SearchProcess(tmp_path)
    process.process_file(1).mkdir()  # as on a full disk, the shell cannot write it
    process.start(program(f"open({str(tmp_path / 'mark')!r}, 'w')"), number=1)
    wait_for(lambda: not process.alive(1))
    assert process.exit_code(1) is None
    assert not (tmp_path / "mark").exists()
    process.process_file(1).rmdir()
    process.start(program("raise SystemExit(3)"), number=1)
    assert ended(process) == 3
    assert all(path.stat().st_size == 0 for path in tmp_path.glob("search-1.lock"))


@pytest.mark.parametrize("cluster", [None, "clusters/local.yaml"])
def test_its_command_parses_and_a_run_that_is_there_is_gone_on_with(
    tmp_path: Path, cluster: str | None
) -> None:
    process = SearchProcess(tmp_path)

    def command() -> list[str]:
        return search_command(
            process,
            data=["--data", "runs/champion+runs/events.db#17"],
            start_from=Path("runs/champion"),
            plan="quick",
            usd=5.0,
            hours=2.0,
            cluster=cluster,
            options=["--trials", "4"],
        )

    options = parser().parse_args(command()[2:])
    assert options.data == "runs/champion+runs/events.db#17"
    assert (options.max_cost, options.max_hours, options.trials, options.resume) == (5.0, 2.0, 4, False)
    assert options.yes == (cluster is not None)
    process.run.mkdir()
    (process.run / "run.json").write_text("{}")
    options = parser().parse_args(command()[2:])
    assert (options.resume, options.data, options.plan) == (True, None, None)
