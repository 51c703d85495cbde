"""Where files lie and how downloads travel: spaces, letters of any script, long paths, proxies."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from recsys.data.__main__ import main
from recsys.data.download import download_release
from recsys.data.loading import load_dataset

RATINGS = "user,item,rating,timestamp\n" + "".join(
    f"{user},{item},{1 + (user + item) % 5},{1_500_000_000 + 60 * user + item}\n"
    for user in range(20)
    for item in range(10)
)


@pytest.mark.parametrize("name", ["two words", "données ü 評価", "+plus,comma=equals", "x" * 120])
def test_a_path_is_only_a_path(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / name
    folder.mkdir(parents=True)
    (folder / f"{name}.csv").write_text(RATINGS)
    dataset = load_dataset(str(folder / f"{name}.csv"), cache=folder / "cache")
    assert len(dataset.ratings) == 200


def test_the_command_takes_such_paths_and_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a b.csv", tmp_path / "评分.csv"]
    for file in files:
        file.write_text(RATINGS)
    assert main([str(file) for file in files]) == 0
    printed = capsys.readouterr().out
    assert all(str(file) in printed for file in files)


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("ml-x/u.data", "1\t2\t3\t880000000\n")
    return packed.getvalue()


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A forward proxy on loopback that knows one archive, and what it was asked for."""
    content, asked = archive(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = hashlib.md5(content).hexdigest().encode() if self.path.endswith(".md5") else content
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_downloads_go_through_the_proxy_of_the_environment(
    proxy: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = proxy
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download_release("ml-x", tmp_path / "ml-x", base_url="http://files.invalid/")
    assert (tmp_path / "ml-x" / "u.data").is_file()
    assert asked == ["http://files.invalid/ml-x.zip.md5", "http://files.invalid/ml-x.zip"]
