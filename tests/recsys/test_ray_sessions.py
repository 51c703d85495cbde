"""Sessions of Ray: ours are deleted when their process is gone, but for the last few; no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recsys.ray_sessions import KEPT, LOCK, keep_session


def session(folder: Path, number: int) -> Path:
    made = folder / f"session_2026-11-28_10-00-{number:02}_1_2"
    (made / "logs").mkdir(parents=True)
    return made


def test_ended_sessions_of_ours_are_deleted_and_no_others(tmp_path: Path) -> None:
    ended = [session(tmp_path, number) for number in range(KEPT + 2)]
    for path in ended:
        (path / LOCK).touch()
    foreign, running, mine = (session(tmp_path, number) for number in (90, 91, 92))
    (tmp_path / "session_latest").symlink_to(running)
    words = f"""
import sys
from pathlib import Path
from recsys.ray_sessions import keep_session
keep_session(Path({str(running)!r}))
print("held", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert not any(path.exists() for path in ended[:2])
        keep_session(mine)
        left = {path for path in tmp_path.iterdir() if not path.is_symlink()}
        assert left == {*ended[2:], foreign, running, mine}
        other.kill()
    (ended[-1] / LOCK).unlink()  # not ours after all
    keep_session(session(tmp_path, 93))
    assert all(path.exists() for path in (running, ended[-1], ended[2]))
    keep_session(session(tmp_path, 94))
    assert running.exists()  # among the last that ended


def test_a_folder_that_cannot_be_marked_stops_nothing(tmp_path: Path) -> None:
    keep_session(tmp_path / "session_gone")
    assert not (tmp_path / "session_gone").exists()
