"""Run folders of earlier versions: gone on with, each of them; those of later ones refused in one line.

``old_runs/version-N`` is a run that version N left on a synthetic data set, killed after its smallest trials
(from 2 on, a list trial too).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from recsys.release.load import load_release
from search.breakthrough import main
from tests.end_to_end.commands import log_of, results_of, run, trials_done

OLD_RUNS = sorted((Path(__file__).parent / "old_runs").glob("version-*"))


@pytest.mark.slow
@pytest.mark.parametrize("old", OLD_RUNS, ids=lambda path: path.name)
def test_an_older_run_is_gone_on_with(old: Path, tmp_path: Path) -> None:
    out = tmp_path / old.name
    shutil.copytree(old, out)
    kept = out / "trials" / "0004" / "result.json"
    before = kept.read_bytes()
    assert run(out, "--resume") == 0, log_of(out)
    assert kept.read_bytes() == before  # what had ended was not trained again
    assert trials_done(out) == {"version-1": 5}.get(old.name, 7)
    assert results_of(out)["baselines"]["bias"]["trial"] == 4
    load_release(out / "release")


def test_every_version_has_its_run() -> None:
    from search.storage.run_dir import RUN_VERSION

    assert [path.name for path in OLD_RUNS] == [f"version-{n}" for n in range(1, RUN_VERSION + 1)]


def test_a_newer_run_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "newer"
    shutil.copytree(OLD_RUNS[-1], out)
    about = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**about, "schema_version": 99}))
    for words in (["--out", str(out), "--resume"], ["--data", "synthetic:", "--start-from", str(out)]):
        assert main(words) == 2
        line = capsys.readouterr().err.strip()
        assert "run.json has schema_version 99, this code reads up to" in line
        assert "\n" not in line
