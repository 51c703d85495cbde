"""A coverage-guided fuzzer over the reader of ratings files: no traceback, no hang, no row lost silently.

    python -m pip install atheris
    python -m tests.benchmarks.fuzz_reader --seconds 600 FOLDER_OF_EXAMPLES

Every input either is refused in words (InputError) or is read with rows = kept + left out; where it holds no
quote, every line that is not blank is one of those rows or the header. An input that breaks this is printed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["recsys.data"]):
    from recsys.data.loading import load_dataset
    from recsys.data.report import describe_dataset
    from recsys.errors import InputError

LONGEST = 4096  # bytes of one input
SECONDS_EACH = 10


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.fuzz_reader", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("examples", type=Path, help="a folder of small ratings files to start from")
    made.add_argument("--seconds", type=int, default=600)
    return made


def check(data: bytes, folder: Path) -> None:
    """Raises AssertionError where a row was lost, or whatever the reader raised that is no InputError."""
    path = folder / "ratings.csv"
    path.write_bytes(data)
    try:
        report = describe_dataset(str(path), load_dataset(str(path), max_bad_share=1.0))
    except InputError:
        return
    assert report["rows"] == report["kept"] + sum(report["left_out"].values()), report
    plain = not set(data) & set(b'"\r\x0b\x0c\x1c\x1d\x1e\x85\x00') and data.isascii()
    if plain:
        lines = sum(bool(line.strip()) for line in data.split(b"\n"))
        assert report["rows"] in (lines, lines - 1), (report, lines)


def main(words: Sequence[str] | None = None) -> None:
    """Fuzzes until the time is up; the process ends with libFuzzer's own status."""
    options = parser().parse_args(words)
    corpus = Path(tempfile.mkdtemp())
    for file in sorted(options.examples.rglob("*")):
        if file.is_file() and file.suffix in {".csv", ".dat", ".inter"}:
            head = b"\n".join(file.read_bytes().split(b"\n")[:40])[:LONGEST]
            (corpus / f"{file.parent.name}-{file.name}").write_bytes(head)
    folder = Path(tempfile.mkdtemp())
    limits = [f"-max_total_time={options.seconds}", f"-max_len={LONGEST}", f"-timeout={SECONDS_EACH}"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], lambda data: check(data, folder))
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
