"""Bad input: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from search.breakthrough import main
from tests.end_to_end.commands import DATA, ROOT

HEADER = "user,item,rating\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with some files to name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISCORD_WEBHOOK_URL", raising=False)
    rows = "".join(f"u{n % 7},i{n % 11},{n % 5 + 1}\n" for n in range(70))
    (tmp_path / "good.csv").write_text(HEADER + rows)
    (tmp_path / "wrong_column.csv").write_text("user,thing,rating\n" + rows)
    (tmp_path / "garbage.csv").write_text(HEADER + "a,b\n" * 30)
    (tmp_path / "tiny.csv").write_text(HEADER + "a,b,3\n")
    (tmp_path / "plan.yaml").write_text("trails: 3\n")
    (tmp_path / "bad.yaml").write_text("trials: [\n")
    (tmp_path / "template.yaml").write_text("family: hybrid_vae\nmodel: {dropuot: 0.1}\n")
    (tmp_path / "outside.yaml").write_text("fixed: {hybrid_vae: {kl_weight: 0.02, latent: 128}}\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    return tmp_path


BAD = [
    ("--data nowhere-at-all", "nowhere-at-all"),
    ("--data missing.csv", "missing.csv"),
    ("--data wrong_column.csv", "item"),
    ("--data garbage.csv", "garbage.csv"),
    ("--data tiny.csv", "tiny"),
    ("--data synthetic:people=3", "people=3"),
    ("--split sideways", "sideways"),
    ("--split folds:u1", "100,000 ratings"),
    ("--split temporal --data good.csv", "timestamps"),
    ("--plan plan.yaml", "did you mean trials"),
    ("--plan bad.yaml", "not readable YAML"),
    ("--plan quik", "did you mean quick"),
    ("--set epocs=3", "did you mean epochs"),
    ("--set dropuot=0.1", "did you mean dropout"),
    ("--set trials", "key=value"),
    ("--set template=template.yaml", "did you mean dropout"),
    ("--set template=nothing", "there is no template"),
    ("--plan outside.yaml", "kl_weight.*0.015.*latent.*96"),
    ("--set kl_weight=0.02", "kl_weight"),
    ("--set batch_size=1024", "batch_size"),
    ("--trials 1", "trials is 1"),
    ("--max-cost -5", "max_cost is -5"),
    ("--max-hours 0", "max_hours is 0"),
    ("--price -1", "price is -1"),
    ("--notify not-a-url", "not a URL"),
    ("--scale 5:1", "--scale"),
    ("--out taken", "not an empty folder"),
    ("--out taken --resume", "holds no run"),
    ("--resume", "no run under runs/"),
    ("--warm-start taken", "--warm-start taken"),
    ("--start-from taken", "--start-from taken"),
    ("--cluster nowhere.yaml", "nowhere.yaml"),
    ("--detach", "--cluster"),
    (f"--cluster {ROOT}/clusters/local.yaml --detach", "rented cluster"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[row[0] for row in BAD])
def test_one_line_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    given = arguments.split()
    if "--data" not in given and "--resume" not in given:
        given += ["--data", DATA]
    assert main(given) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert len(lines) == 1
    assert re.search(message, errors[0])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_shell_sees_the_exit_code_and_no_traceback(folder: Path) -> None:
    command = [sys.executable, str(ROOT / "search" / "breakthrough.py"), "--data", "nowhere-at-all"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout


def test_help_explains_with_examples() -> None:
    command = [sys.executable, str(ROOT / "search" / "breakthrough.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for words in ("examples:", "--resume", "exit codes", "--cluster clusters/runpod.yaml", "Ctrl-C"):
        assert words in done.stdout
