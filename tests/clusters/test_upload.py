"""What goes over the wire: the project's packages, the named inputs, and nothing else."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from clusters.upload import ROOT, code_files, pack, pack_code, size, upload_inputs


def test_only_the_packages_are_sent() -> None:
    names = code_files()
    assert Path("search/__init__.py") in names
    assert Path("clusters/bootstrap/node.py") in names
    assert Path("pyproject.toml") in names
    tops = {name.parts[0] for name in names}
    assert tops <= {"recsys", "search", "serving", "clusters", "pyproject.toml", "README.md"}
    assert not any("__pycache__" in name.parts or name.suffix == ".pyc" for name in names)


def test_it_is_small_and_opens_again() -> None:
    archive = pack_code()
    assert len(archive.data) < 2 * 2**20
    assert "over the wire" in archive.text("code")
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as archive:
        member = archive.getmember("clusters/upload.py")
        assert archive.extractfile(member).read() == (ROOT / "clusters/upload.py").read_bytes()  # type: ignore[union-attr]
        assert (member.uname, member.uid) == ("", 0)  # nothing of this machine's account


def test_ignored_and_foreign_files_stay_here(tmp_path: Path) -> None:
    for name in (
        "search/a.py",
        "search/secret.env",
        "runs/big.bin",
        "recsys/__pycache__/x.pyc",
        "pyproject.toml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("*.env\n__pycache__/\n")
    without_git = {str(name) for name in code_files(tmp_path)}
    assert without_git == {"search/a.py", "search/secret.env", "pyproject.toml"}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert {str(name) for name in code_files(tmp_path)} == {"search/a.py", "pyproject.toml"}


def test_paths_in_arguments_are_sent_and_renamed(tmp_path: Path) -> None:
    folder = tmp_path / "ratings"
    folder.mkdir()
    (folder / "u.data").write_text("1\t2\t3\t4\n")
    items = tmp_path / "items.csv"
    items.write_text("a")
    plan = ROOT / "clusters" / "runpod.yaml"
    messages, files = upload_inputs(
        ["--data", str(folder), f"--items={items}", "--plan", str(plan), "--trials", "3"]
    )
    assert messages == [
        "--data", "../inputs/1/ratings", "--items=../inputs/2/items.csv", "--plan", "clusters/runpod.yaml",
        "--trials", "3",
    ]  # fmt: skip
    assert files == {"inputs/1/ratings/u.data": folder / "u.data", "inputs/2/items.csv": items}
    assert pack(files).files == 2


def test_a_name_is_no_path_even_where_a_folder_is_called_so(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml-100k").mkdir()
    assert upload_inputs(["--data", "ml-100k"]) == (["--data", "ml-100k"], {})


def test_sizes_are_readable() -> None:
    assert (size(2048), size(3 * 2**20)) == ("2.0 kB", "3.0 MB")
