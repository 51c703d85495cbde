"""ml-100k out of the wheel recbole 1.2.1, which carries it as an example.

Fetched by pip with its own configuration (index, proxy, certificates) and only read, never installed.
Its rows are u.data's, which the known sha256 proves; items and users come as tables, which are written
in the CSV and u.user layouts with the release year put back into the title.
"""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from recsys.data.cache import atomic_folder
from recsys.data.download import Unreachable
from recsys.errors import InputError

REQUIREMENT = "recbole==1.2.1"
INSIDE = "recbole/dataset_example/ml-100k/ml-100k."
U_DATA_SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
SECONDS = 120.0


def fetch_ml_100k(folder: Path) -> str:
    """Put u.data, movies.csv and u.user into ``folder``; the line that says where from.

    ``Unreachable`` where pip cannot get the wheel, ``InputError`` where its rows are not u.data's.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wheel = pip_download(Path(scratch))
        with zipfile.ZipFile(wheel) as opened:
            tables = {name: opened.read(INSIDE + name).decode("utf-8") for name in ("inter", "item", "user")}
    origin = (
        f"the wheel {REQUIREMENT} of the package index (u.data's sha256 {U_DATA_SHA256[:12]}..., as known)"
    )
    with atomic_folder(folder) as work:
        (work / "u.data").write_bytes(checked_ratings(tables["inter"]))
        (work / "movies.csv").write_text(movies_csv(tables["item"]), encoding="utf-8")
        user_lines = [line.replace("\t", "|") for line in tables["user"].strip().split("\n")[1:]]
        (work / "u.user").write_text("\n".join(user_lines) + "\n", encoding="utf-8")
        (work / "origin.txt").write_text(origin + "\n")
    return origin


def pip_download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "15",
        REQUIREMENT,
        "-d",
        str(folder),
    ]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"pip did not get {REQUIREMENT} in {SECONDS:.0f} s") from None
    wheels = list(folder.glob("*.whl"))
    if ended.returncode or not wheels:
        raise Unreachable(f"pip cannot get {REQUIREMENT}: {last_line(ended.stderr)}")
    return wheels[0]


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def checked_ratings(inter: str) -> bytes:
    """The bytes of u.data: the table without its header line."""
    rows = inter.partition("\n")[2].rstrip("\n") + "\n"
    data = rows.replace("\r\n", "\n").encode()
    digest = hashlib.sha256(data).hexdigest()
    if digest != U_DATA_SHA256:
        raise InputError(
            f"{REQUIREMENT}: its rows are not those of u.data (sha256 {digest}, expected {U_DATA_SHA256}); "
            "give a folder with ml-100k as --data"
        )
    return data


def movies_csv(table: str) -> str:
    """movieId, title with its year, genres joined with a bar."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["movieId", "title", "genres"])
    for line in table.strip().split("\n")[1:]:
        item_id, title, year, genres = [*line.split("\t"), "", "", ""][:4]
        named = f"{title} ({year})" if year.isdigit() else title
        writer.writerow([item_id, named, "|".join(genres.split())])
    return out.getvalue()
