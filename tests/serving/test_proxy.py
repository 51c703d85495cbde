"""The example nginx.conf in a real nginx: TLS, the rate limit, and a second try when a replica dies."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.api.asgi import create_asgi
from serving.server import Server
from tests.serving.running import Running, running
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.system
CONFIG = Path(__file__).resolve().parents[2] / "serving" / "proxy" / "nginx.conf"


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "service", releases) as entry:
        yield entry


@pytest.fixture
def proxy(made: Running, tmp_path: Path) -> Iterator[httpx.Client]:
    """nginx with our file, its two ports replaced by free ones, and a certificate of the moment."""
    folder = tmp_path / "nginx"
    (folder / "tls").mkdir(parents=True)
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    words += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        "tls/key.pem",
        "-out",
        "tls/certificate.pem",
    ]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    port = free_port()
    text = CONFIG.read_text()
    text = text.replace("listen 8443", f"listen 127.0.0.1:{port}")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{made.service.settings.port}")
    (folder / "nginx.conf").write_text(f"user root;\n{text}")
    nginx = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
        stderr=subprocess.PIPE,
    )
    trusted = ssl.create_default_context(cafile=folder / "tls" / "certificate.pem")
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusted, timeout=120) as client:
            wait_for(lambda: _answers(client))
            yield client
    finally:
        nginx.terminate()
        nginx.wait(120)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_tls_and_the_same_answers(proxy: httpx.Client, made: Running) -> None:
    through = proxy.get("/v1/users/u1/recommendations").json()
    assert through["items"] == made.list("u1")["items"]
    assert "strict-transport-security" in proxy.get("/healthz").headers
    assert len(proxy.get("/healthz").headers["x-request-id"]) == 32
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        httpx.get(f"{proxy.base_url}/healthz")


def test_large_bodies_stop_at_the_proxy(proxy: httpx.Client) -> None:
    assert proxy.post("/v1/feedback", content=b"x" * 2_000_000).status_code == 413


def test_too_many_requests_get_429(proxy: httpx.Client) -> None:
    statuses: Counter[int] = Counter()

    def hurry() -> None:
        with httpx.Client(base_url=proxy.base_url, verify=proxy._transport._pool._ssl_context) as client:  # type: ignore[attr-defined]
            for _ in range(200):
                statuses[client.get("/healthz").status_code] += 1

    threads = [threading.Thread(target=hurry) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 429}
    assert statuses[200] >= 200


def test_a_replica_that_dies_is_not_noticed(proxy: httpx.Client, made: Running) -> None:
    """A second listener on the same port goes away with its connections cut; nobody sees an error."""
    other = Server(create_asgi(made.service), host="127.0.0.1", port=made.service.settings.port)
    other.start()
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses[proxy.get("/v1/users/u1/recommendations").status_code] += 1
            time.sleep(0.02)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: statuses[200] > 50)
    other._server.force_exit = True
    other.stop()
    before = statuses.total()
    wait_for(lambda: statuses.total() > before + 50)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
