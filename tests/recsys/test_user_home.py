"""A home folder for users who have none."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from recsys.user_home import ensure_home


def nobody(uid: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


def test_a_known_user_keeps_home() -> None:
    environment: dict[str, str] = {}
    assert ensure_home(environment) is None  # the password file knows it
    assert "HOME" not in environment


def test_an_id_without_an_entry_gets_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment: dict[str, str] = {}
    folder = ensure_home(environment)
    assert folder is not None
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert environment["HOME"] == str(folder)
    assert environment["LOGNAME"].startswith("user-")
    assert "no home folder" in capsys.readouterr().err
    again: dict[str, str] = {"USER": "me"}
    assert ensure_home(again) == folder
    assert "LOGNAME" not in again


def test_home_named_in_the_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert ensure_home({"HOME": "/somewhere"}) is None


def test_somebody_elses_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 4242)
    (tmp_path / "home-4242").mkdir()  # of the user who runs this test
    folder = ensure_home({})
    assert folder is not None
    assert folder.name != "home-4242"
