"""How commands end: exit codes, and one line for a package that an extra would have installed."""

from __future__ import annotations

import pytest

from recsys.errors import InputError, check_encoding, exit_code


def ending(error: BaseException) -> int:
    def command() -> int:
        raise error

    return exit_code(command)


def test_a_missing_extra_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: torch is not installed, and this command needs it: python -m pip install")
    assert "'.[search]'" in line


def test_another_missing_module_is_a_fault_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError):
        ending(ModuleNotFoundError("No module named 'recsys.nothing'", name="recsys.nothing"))


def test_the_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: 0) == 0
    assert ending(InputError("got 3, expected 4")) == 2
    assert ending(PermissionError(13, "Permission denied", "/there")) == 1
    assert ending(KeyboardInterrupt()) == 130
    assert "failed: /there: Permission denied" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_refused_with_what_to_set() -> None:
    check_encoding(["--data", "données.csv"])
    with pytest.raises(InputError, match=r"'l\\udcc3.uft' is not text .*set PYTHONUTF8=1, or rename it"):
        check_encoding(["--out", "l\udcc3\udca4uft".replace("\udca4", "a")])
