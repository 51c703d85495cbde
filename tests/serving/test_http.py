"""HTTP as clients, browsers, proxies and intruders use it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from serving.api import item_schemas, response_schemas, schemas
from serving.api.security import is_allowed_host
from serving.read_timeouts import MOST_HEAD_BYTES, TimedHttpProtocol
from tests.serving.running import Running, running


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/", "/docs", "/operations", "/pages/lists.js", "/metrics"]
)
def test_head_is_get_without_a_body(shared: Running, path: str) -> None:
    answer = shared.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == shared.client.get(path).headers["content-type"]
    assert shared.client.get(path).status_code == 200  # the connection is in step


def test_head_computes_no_list(shared: Running) -> None:
    assert shared.client.head("/v1/users/u1/recommendations").status_code == 405


def test_nothing_redirects(shared: Running) -> None:
    for path in ("/v1/popular/", "/docs/", "/healthz/", "/v1/about/"):
        answer = shared.client.get(path, follow_redirects=False)
        assert answer.status_code == 404
        assert "location" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/docs", "/operations", "/v1/about"])
def test_what_has_not_changed_is_not_sent_again(shared: Running, path: str) -> None:
    first = shared.client.get(path)
    tag = first.headers["etag"]
    again = shared.client.get(path, headers={"if-none-match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert shared.client.get(path, headers={"if-none-match": '"other"'}).content == first.content


def test_large_answers_are_compressed_where_the_client_can(shared: Running) -> None:
    answer = shared.client.get("/openapi.json", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    plain = shared.client.get("/openapi.json", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert answer.json() == plain.json()


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_said_to_be_json(shared: Running, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = shared.client.post("/v1/feedback", content=b'{"events": []}', headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize("rating", [True, "4", "4.0", None, [4]])
def test_what_is_no_number_is_no_rating(shared: Running, rating: object) -> None:
    event = {"event_id": "bad", "kind": "rating", "user_id": "u1", "item_id": "i1", "rating": rating}
    assert shared.client.post("/v1/feedback", json={"events": [event]}).status_code == 422
    body = {"ratings": [{"item_id": "i1", "rating": rating}]}
    assert shared.client.post("/v1/recommendations", json=body).status_code == 422
    assert shared.client.post("/v1/recommendations", json={"count": rating}).status_code == 422


def test_the_description_says_how_to_give_the_key_and_what_comes_back(shared: Running) -> None:
    described = shared.client.get("/openapi.json").json()
    schemes = described["components"]["securitySchemes"]
    assert schemes["ApiKey"] == {**schemes["ApiKey"], "in": "header", "name": "X-API-Key"}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            success = operation["responses"]["200"]
            kinds = success["content"]
            assert path == "/metrics" or kinds["application/json"]["schema"], (path, method)
            expected = [] if path in ("/healthz", "/readyz") else [{}, {"ApiKey": []}, {"HTTPBearer": []}]
            if "403" in operation["responses"]:  # routes that change something for everybody
                expected = [{"HTTPBearer": []}]
            assert operation["security"] == expected, (path, method)


def test_what_is_described_is_what_comes(shared: Running) -> None:
    for path, model in (
        ("/healthz", response_schemas.Health),
        ("/readyz", response_schemas.Readiness),
        ("/v1/about", response_schemas.About),
        ("/v1/experiments/main", response_schemas.ExperimentResponse),
        ("/v1/experiments/main/history", response_schemas.HistoryResponse),
    ):
        model.model_validate_json(shared.client.get(path).content, strict=True)


def test_examples_are_accepted(shared: Running) -> None:
    described = shared.client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SessionBody", "BatchBody", "FeedbackBody", "ItemBody", "BulkItemsBody"):
        for example in described[name]["examples"]:
            getattr(item_schemas if "Item" in name else schemas, name).model_validate(example)


def test_other_sites_names_are_refused_without_a_key(shared: Running) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example"):
        answer = shared.client.get("/v1/about", headers={"host": host})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_host")
    for host in ("localhost", "LOCALHOST:80", "[::1]:8000", "127.0.0.1"):
        assert shared.client.get("/v1/about", headers={"host": host}).status_code == 200
    address = (shared.service.settings.host, shared.service.settings.port)
    with socket.create_connection(address, timeout=120) as speaker:
        speaker.sendall(b"GET /v1/about HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n")
        assert speaker.recv(12) == b"HTTP/1.1 400"
    assert is_allowed_host(b"shop.example:8443", ["Shop.example"])


@pytest.fixture
def open_to_a_shop(releases: dict[str, Path], tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, {"a": releases["a"]}, cors_origins=["https://shop.example"]) as made:
        yield made


def test_pages_of_named_sites_may_ask(open_to_a_shop: Running) -> None:
    preflight = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-api-key",
    }
    answer = open_to_a_shop.client.options("/v1/feedback", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    asked = open_to_a_shop.client.get("/v1/about", headers={"origin": "https://shop.example"})
    assert asked.headers["access-control-allow-origin"] == "https://shop.example"
    other = open_to_a_shop.client.get("/v1/about", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def _healthz(line: socket.socket) -> bytes:
    """A whole answer, in however many pieces it comes."""
    result = b""
    while not result.endswith(b"}"):
        piece = line.recv(65_536)
        assert piece, result
        result += piece
    return result


class Recorded(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /healthz HTTP/1.1\r\nX: ", b"a" * 1_000),
        (b"GET /healthz HTTP/1.1\r\n", b"X: y\r\n" * 200),
        (b"GET /healthz HTTP/1.1\r\nX", b"a" * 1_000),
        (b"GET /", b"a" * 1_000),
    ],
    ids=["value", "headers", "name", "path"],
)
def test_a_head_without_end_is_refused(begin: bytes, piece: bytes) -> None:
    """httptools joins pieces anew each time: 16 MB of one header held the loop for 4 s."""

    async def main() -> None:
        config = uvicorn.Config(lambda scope: None, lifespan="off", log_config=None)  # type: ignore[arg-type]
        config.load()
        line = Recorded()
        protocol = TimedHttpProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(line)
        protocol.data_received(begin)
        sent = 0
        while not line.closed:
            protocol.data_received(piece)
            sent += len(piece)
            assert sent <= MOST_HEAD_BYTES + len(piece)
        assert line.written.startswith(b"HTTP/1.1 431 ")
        assert json.loads(line.written.partition(b"\r\n\r\n")[2])["error"]["message"]
        protocol.connection_lost(None)

    asyncio.run(main())


def test_a_slow_client_is_cut_off_and_a_quick_one_is_not(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.read_timeouts.READ_SECONDS", 0.3)
    head = b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    with running(tmp_path, {"a": releases["a"]}) as made:
        address = ("127.0.0.1", made.service.settings.port)
        for part in (b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: loc", head, head + b"{"):
            with socket.create_connection(address, timeout=120) as line:
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert _healthz(line).startswith(b"HTTP/1.1 200")
                line.sendall(part)
                assert line.recv(65_536) == b""  # closed, within the time-out
        with socket.create_connection(address, timeout=120) as line:
            for _ in range(3):  # longer in all than one request may take, each of them whole
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert _healthz(line).startswith(b"HTTP/1.1 200")
                time.sleep(0.15)
