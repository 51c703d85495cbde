"""Downloads, against a real HTTP server that serves made-up archives; the second way, by a real pip."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recsys.data import releases
from recsys.data.download import Unreachable
from recsys.data.loading import load_dataset
from recsys.data.package_download import INSIDE, fetch_ml_100k, movies_csv
from recsys.data.releases import RELEASES, release_folder
from recsys.errors import InputError
from tests.recsys.data.examples import table, write_csv_layout, write_dat_layout


class Shelf:
    """What the server gives at which path; ``asked`` counts."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, int] = {}
        self.asked: list[str] = []
        self.url = ""

    def put(self, name: str, archive: bytes, *, md5: str | None = None) -> None:
        digest = md5 or hashlib.md5(archive, usedforsecurity=False).hexdigest()
        self.files[f"/{name}.zip"] = archive
        self.files[f"/{name}.zip.md5"] = f"MD5 ({name}.zip) = {digest}\n".encode()


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.asked.append(self.path)
            body = shelf.files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(shelf.announced.get(self.path, len(body or b""))))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    shelf.url = f"http://127.0.0.1:{server.server_port}/"
    yield shelf
    server.shutdown()
    server.server_close()


def zipped(folder: Path, inside: str, **extra: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"{inside}/{path.name}")
        for name, content in extra.items():
            archive.writestr(name, content)
    return out.getvalue()


def leftovers(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_release_is_fetched_once_checked_and_read(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = table(half=False)
    shelf.put(
        "ml-1m", zipped(write_dat_layout(tmp_path / "made", written), "ml-1m", **{"ml-1m/README": b"hello"})
    )
    messages: list[tuple[str, float]] = []
    cache = tmp_path / "cache"
    folder = release_folder(
        "ml-1m", cache=cache, base_url=shelf.url, progress=lambda *at: messages.append(at)
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "movies.dat",
        "origin.txt",
        "ratings.dat",
        "users.dat",
    ]
    assert messages[-1] == (f"downloading {shelf.url}ml-1m.zip", 1.0)
    asked = len(shelf.asked)
    assert release_folder("ml-1m", cache=cache, base_url=shelf.url) == folder
    assert len(shelf.asked) == asked
    dataset = load_dataset("ml-1m", cache=cache)  # from the cache: the default address is never asked
    assert dataset.name == "ml-1m"
    assert len(dataset.ratings) == len(written)
    assert dataset.source.startswith(f"{shelf.url}ml-1m.zip (md5 ")


def test_other_spellings_of_md5_files(shelf: Shelf, tmp_path: Path) -> None:
    archive = zipped(write_csv_layout(tmp_path / "made", table()), "ml-25m")
    shelf.put("ml-25m", archive)
    shelf.files["/ml-25m.zip.md5"] = f"{hashlib.md5(archive).hexdigest()}  ml-25m.zip\n".encode()
    assert (release_folder("ml-25m", cache=tmp_path / "c", base_url=shelf.url) / "ratings.csv").is_file()


def test_a_wrong_checksum_keeps_nothing(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("ml-100k", zipped(write_dat_layout(tmp_path / "made", table()), "x"), md5="0" * 32)
    with pytest.raises(
        InputError, match=r"ml-100k\.zip: wrong checksum: md5 is [0-9a-f]{32}, GroupLens publishes 0{32}"
    ):
        release_folder("ml-100k", cache=tmp_path / "cache", base_url=shelf.url)
    assert leftovers(tmp_path / "cache") == []


def test_a_download_that_breaks_off(shelf: Shelf, tmp_path: Path) -> None:
    archive = zipped(write_dat_layout(tmp_path / "made", table()), "ml-1m")
    shelf.put("ml-1m", archive)
    shelf.announced["/ml-1m.zip"] = len(archive) + 1000
    with pytest.raises(InputError, match=r"ml-1m: .*broke off after .*; fetch .*ml-1m\.zip \(6 MB\)"):
        release_folder("ml-1m", cache=tmp_path / "cache", base_url=shelf.url)
    assert leftovers(tmp_path / "cache") == []


def test_archives_that_are_none(shelf: Shelf, tmp_path: Path) -> None:
    shelf.put("ml-1m", b"this is no zip")
    with pytest.raises(InputError, match="not a whole zip archive"):
        release_folder("ml-1m", cache=tmp_path / "cache", base_url=shelf.url)
    (tmp_path / "made").mkdir()
    shelf.put("ml-10m", zipped(tmp_path / "made", "x", readme=b"nothing"))
    with pytest.raises(InputError, match="no ratings file in the archive"):
        release_folder("ml-10m", cache=tmp_path / "cache", base_url=shelf.url)
    assert leftovers(tmp_path / "cache") == []


def test_a_path_in_an_archive_leads_nowhere(shelf: Shelf, tmp_path: Path) -> None:
    made = write_dat_layout(tmp_path / "made", table())
    shelf.put(
        "ml-1m",
        zipped(made, "x", **{"../../movies.csv": b"evil", "/tmp/u.item": b"evil", "../evil.sh": b"evil"}),
    )
    folder = release_folder("ml-1m", cache=tmp_path / "cache", base_url=shelf.url)
    result = {
        path.relative_to(tmp_path)
        for path in tmp_path.rglob("*")
        if path.is_file() and path.read_bytes() == b"evil"
    }
    assert result == {folder.relative_to(tmp_path) / "movies.csv", folder.relative_to(tmp_path) / "u.item"}


def test_out_of_reach_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound, not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        with pytest.raises(
            InputError, match=r"ml-20m: cannot reach .*unzip it here and give its folder as --data"
        ):
            release_folder("ml-20m", cache=tmp_path, base_url=nowhere)
        asked: list[Path] = []

        def second_way(folder: Path) -> str:
            asked.append(folder)
            return "another source"

        folder = release_folder("ml-100k", cache=tmp_path, base_url=nowhere, second_way=second_way)
        assert asked == [folder]

        def broken(folder: Path) -> str:
            raise Unreachable("pip cannot either")

        with pytest.raises(InputError, match=r"cannot reach .* and pip cannot either; unzip ml-100k"):
            release_folder("ml-100k", cache=tmp_path, base_url=nowhere, second_way=broken)


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.data.download.FIRST_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(InputError, match="did not answer in"):
            release_folder("ml-32m", cache=tmp_path, base_url=url)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ml-100",
            r"ml-100: no such file or folder, nor a release's name; .* ml-100k, .*; did you mean ml-100k",
        ),
        ("ML-32M", r"did you mean ml-32m"),
        ("netflix", r"the releases are ml-100k, ml-1m, ml-10m, ml-20m, ml-25m, ml-32m, ml-latest-small$"),
    ],
)
def test_unknown_names_list_the_known(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_dataset(name, cache=tmp_path)


def make_wheel(folder: Path, inter: str) -> None:
    """A wheel of recbole's name and version with these ratings in it."""
    folder.mkdir()
    name = "recbole-1.2.1.dist-info"
    with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        wheel.writestr(f"{name}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}/RECORD", "")
        wheel.writestr(INSIDE + "inter", inter)
        wheel.writestr(INSIDE + "item", "item_id:token\n")
        wheel.writestr(INSIDE + "user", "user_id:token\n")


def test_the_wheel_is_fetched_with_pips_own_configuration_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "index", "user_id\titem_id\trating\ttimestamp\n1\t1\t5\t1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(
        InputError, match=r"recbole==1\.2\.1: its rows are not those of u\.data \(sha256 .*, expected 0641"
    ):
        fetch_ml_100k(tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_no_wheel_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(Unreachable, match=r"pip cannot get recbole==1\.2\.1: ERROR"):
        fetch_ml_100k(tmp_path / "got")


def test_a_whole_wheel_becomes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "1\t10\t5\t100\n2\t20\t3\t200\n"
    make_wheel(tmp_path / "index", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + rows)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(
        "recsys.data.package_download.U_DATA_SHA256", hashlib.sha256(rows.encode()).hexdigest()
    )
    folder = release_folder(
        "ml-100k", cache=tmp_path / "cache", base_url="http://127.0.0.1:9/", second_way=fetch_ml_100k
    )
    assert (folder / "u.data").read_text() == rows
    assert load_dataset("ml-100k", cache=tmp_path / "cache").source.startswith("the wheel recbole==1.2.1")


def test_titles_get_their_year_back() -> None:
    made = movies_csv("id\ttitle\tyear\tclass\n1\tAlien, The\t1979\tHorror Sci-Fi\n2\tunkonwn\t\tunknown\n")
    assert made == 'movieId,title,genres\n1,"Alien, The (1979)",Horror|Sci-Fi\n2,unkonwn,unknown\n'


def test_every_name_of_the_plan_is_known() -> None:
    assert set(RELEASES) == {"ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small"}
    assert releases.BASE_URL.startswith("https://")
