"""Any machine: quotas, long and missing folders, terminals without UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.data.cache import cache_folder
from recsys.errors import InputError
from recsys.machine import (
    RAY_SUFFIX,
    SOCKET_PATH,
    cpu_quota,
    ensure_ray_token,
    object_store_folder,
    ray_folder,
    usable_cores,
)


@pytest.mark.parametrize(("text", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("odd", None)])
def test_quota_of_a_container(text: str, quota: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert cpu_quota(tmp_path) == quota
    assert usable_cores(tmp_path) <= len(os.sched_getaffinity(0))


def test_quota_of_an_older_container(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path) == 0.5
    assert usable_cores(tmp_path) == 1
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path) is None


def test_a_long_tmpdir_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = ray_folder("ray-of-a-test", environment={})
    assert not folder.is_relative_to(long)
    assert len(os.fsencode(folder)) + RAY_SUFFIX <= SOCKET_PATH
    folder.rmdir()
    with pytest.raises(InputError, match=r"can hold Ray's sockets: .*at most \d+ characters; set RAY_TMPDIR"):
        ray_folder(environment={"RAY_TMPDIR": str(long)})


def test_without_shared_memory_the_store_is_a_file(tmp_path: Path) -> None:
    assert object_store_folder(1000, tmp_path, shared=tmp_path / "none") == tmp_path
    assert object_store_folder(2**60, tmp_path, shared=tmp_path) == tmp_path
    assert object_store_folder(1000, tmp_path / "other", shared=tmp_path) is None


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("RECSYS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match="set RECSYS_CACHE to a folder"):
        cache_folder()


def test_an_ascii_terminal_shows_a_path_that_is_not(tmp_path: Path) -> None:
    table = tmp_path / "données.csv"
    rows = "".join(f"josé{row % 5},{row},{row % 5 + 1}\n" for row in range(30))
    table.write_text("user,item,rating\n" + rows + "josé,1,?\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    for file in (table, tmp_path / "là.csv"):
        command = [sys.executable, "-m", "recsys.data", str(file)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "Traceback" not in ended.stderr
        assert "refused: " in ended.stdout


def test_a_token_in_the_environment_where_home_cannot_hold_one(tmp_path: Path) -> None:
    fine = {"HOME": str(tmp_path)}
    ensure_ray_token(fine)
    assert set(fine) == {"HOME"}
    (tmp_path / "file").touch()
    barred = {"HOME": str(tmp_path / "file")}  # no folder can be made in it, not even by root
    ensure_ray_token(barred)
    assert len(barred["RAY_AUTH_TOKEN"]) == 64
    given = {"HOME": str(tmp_path / "file"), "RAY_AUTH_TOKEN": "mine"}
    ensure_ray_token(given)
    assert given["RAY_AUTH_TOKEN"] == "mine"
