"""The short way of a known list gives what the framework's way gives, byte for byte."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.api.cached_lists import CachedListMiddleware
from tests.serving.running import Running, running
from tests.waiting import wait_for

KEY = "the-api-key"
ROUTE = "/v1/users/{}/recommendations{}"
USERS = ["u0", "u1", "u59", "nobody", "%C3%A9", "a%2Fb", "x" * 4096]
QUERIES = ["", "?count=10", "?count=1", "?count=100"]
ODD = [
    *("/v1/users//recommendations", "/v1/users/a%00b/recommendations", "/v1/users/u1/recommendations/"),
    *("/v1/users/u1/recommendations/v1/users/u2/recommendations", "//v1/users/u1/recommendations"),
    "/v1/users/" + "x" * 4097 + "/recommendations",
    *(
        ROUTE.format("u1", query)
        for query in (
            *("?count=0", "?count=101", "?count=999", "?count=05", "?count=%2B5", "?count=-1", "?count=1.0"),
            *("?count=", "?count=ten", "?count=10&count=5", "?count=10&", "?count=1%30", "?", "?count=5&x=1"),
            *("?exclude=i1", "?genres=Drama", "?explain=true", "?include_seen=true", "?arm=a", "?arm=none"),
        )
    ),
]


@pytest.fixture(scope="module")
def made(releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("routes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_API_KEY", KEY)
        with running(folder, releases, access_log=str(folder / "access.log")) as entry:
            yield entry


def plain(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Without what differs from one call to the next: ids, times."""
    body = re.sub(rb'"(exposure_id|request_id)": ?"[0-9a-f]{32}"', rb"", answer.content)
    compressed = "content-encoding" in answer.headers  # with the ids in it
    varying = {"date", "x-request-id"} | ({"content-length"} if compressed else set())
    headers = [
        (name, re.sub(r"dur=[0-9.]+", "", value))
        for name, value in answer.headers.multi_items()
        if name not in varying
    ]
    return answer.status_code, headers, body


def both_ways(
    made: Running, monkeypatch: pytest.MonkeyPatch, method: str, path: str, headers: dict[str, str]
) -> tuple[httpx.Response, httpx.Response]:
    """The same request with and without the short ways, its list being known."""

    def ask() -> httpx.Response:
        return made.client.request(method, path, headers=headers)

    async def never(*_: object) -> bool:
        return False

    ask()
    short = ask()
    with monkeypatch.context() as patch:
        patch.setattr(CachedListMiddleware, "_answered", never)
        patch.setattr(CachedListMiddleware, "direct_answer", lambda *_: None)
        return short, ask()


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_known_lists_are_the_same_bytes(
    made: Running, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    headers = {"x-api-key": KEY, "accept-encoding": encoding}
    for user in USERS:
        for query in QUERIES:
            short, long = both_ways(made, monkeypatch, "GET", ROUTE.format(user, query), headers)
            assert short.status_code == 200, (user, query)
            assert plain(short) == plain(long), (user, query)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_everything_else_is_the_same_too(made: Running, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Other shapes, errors and methods, with the key, with another and without."""
    for path in (*(ODD if method == "GET" else ODD[:2]), ROUTE.format("u1", "")):
        for key in ({"x-api-key": KEY}, {"authorization": "Bearer wrong"}, {}):
            short, long = both_ways(made, monkeypatch, method, path, key)
            assert plain(short) == plain(long), (method, path, key)
            if not key:
                assert short.status_code == 401


def test_a_list_that_would_have_to_be_computed_is_refused_the_same(
    made: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made.service.computation.admission, "_limit", 0)
    counted = made.service.metrics.overloads.labels("refused")
    for query in ("?include_seen=true", "?explain=1&count=5"):
        before = counted._value.get()
        answers = both_ways(made, monkeypatch, "GET", ROUTE.format("u1", query), {"x-api-key": KEY})
        assert counted._value.get() == before + 3  # one before the two
        assert plain(answers[0]) == plain(answers[1])
        for answer in answers:
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_rate_limit_holds(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_API_KEY", KEY)
    with running(tmp_path, {"a": releases["a"]}, rate_limit="5/hour") as made:
        answers = [made.client.get(ROUTE.format("u1", ""), headers={"x-api-key": KEY}) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        wait_for(lambda: len(list(made.service.store.exposures(user_id="u1"))) == 5)


def test_every_known_list_is_logged_counted_and_stored(
    made: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = both_ways(made, monkeypatch, "GET", ROUTE.format("u7", ""), {"x-api-key": KEY})
    ids = [answer.headers["x-request-id"] for answer in (short, long)]
    log_file = Path(str(made.service.settings.access_log))
    lines: dict[str, dict[str, Any]] = {}

    def logged() -> bool:
        whole = log_file.read_text().split("\n")[:-1] if log_file.exists() else []
        lines.update({line["request_id"]: line for line in map(json.loads, whole)})
        return lines.keys() >= set(ids)

    wait_for(logged)
    first, second = (lines[name] for name in ids)
    varying = {"at", "request_id", "milliseconds", "exposure_id"}
    assert {name: first[name] for name in first if name not in varying} == {
        name: second[name] for name in second if name not in varying
    }
    assert first["route"] == "/v1/users/{user_id}/recommendations"
    assert set(first) == set(second)
    messages = {answer.json()["exposure_id"]: answer.json() for answer in (short, long)}
    wait_for(
        lambda: messages.keys() <= {row.exposure_id for row in made.service.store.exposures(user_id="u7")}
    )
    rows = [row for row in made.service.store.exposures(user_id="u7") if row.exposure_id in messages]
    for row in rows:
        answer = messages[row.exposure_id]
        assert list(row.items) == [item["id"] for item in answer["items"]]
        assert row.predicted == tuple(item["predicted_rating"] for item in answer["items"])
        assert (row.arm, row.revision, row.source) == (answer["arm"], answer["revision"], answer["source"])
        assert row.propensities == (1.0,) * len(row.items)


def spoken(made: Running, data: bytes) -> list[tuple[bytes, bytes]]:
    """Status and body of every answer to ``data`` on one connection, which the last request closes."""
    address = (made.service.settings.host, made.service.settings.port)
    with socket.create_connection(address, timeout=120) as speaker:
        speaker.sendall(data)
        got = b"".join(iter(lambda: speaker.recv(65_536), b""))
    answers = []
    while got:
        head, _, got = got.partition(b"\r\n\r\n")
        length = int(re.findall(rb"content-length: (\d+)", head)[0])
        answers.append((head[9:12], got[:length]))
        got = got[length:]
    return answers


def request(path: str, *more: str, version: str = "1.1") -> bytes:
    lines = [f"GET {path} HTTP/{version}", "Host: localhost", f"X-API-Key: {KEY}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def test_requests_in_a_row_on_one_connection_are_answered_in_order(made: Running) -> None:
    known, computed = ROUTE.format("u2", "?count=3"), ROUTE.format("u3", "?count=4&explain=true")
    made.client.get(known, headers={"x-api-key": KEY})
    with_body = request(known, "Content-Length: 5") + b"hello"
    data = request(known) + request(computed) + request(known) + with_body + request(known)
    answers = spoken(made, data + request(computed) + request(known, "Connection: close"))
    assert [status for status, _ in answers] == [b"200"] * 7
    lengths = [len(json.loads(body)["items"]) for _, body in answers]
    assert lengths == [3, 4, 3, 3, 3, 4, 3]
    assert len({json.loads(body)["exposure_id"] for _, body in answers}) == 7
    assert [status for status, _ in spoken(made, request(known, version="1.0"))] == [b"200"]


def test_a_connection_that_was_answered_directly_stays_open(
    made: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.read_timeouts.READ_SECONDS", 0.2)
    known = request(ROUTE.format("u2", ""))
    address = (made.service.settings.host, made.service.settings.port)
    with socket.create_connection(address, timeout=120) as speaker:
        for _ in range(2):
            speaker.sendall(known)
            assert speaker.recv(12) == b"HTTP/1.1 200"
            while not speaker.recv(65_536).endswith(b"]}"):
                pass
            time.sleep(0.5)  # longer than a request may take to arrive
        speaker.sendall(known[:20])  # and half a request is not waited for
        assert speaker.recv(1) == b""


def test_known_lists_need_no_task(made: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    path, headers = ROUTE.format("u4", ""), {"x-api-key": KEY}
    made.client.get(path, headers=headers)
    monkeypatch.setattr(CachedListMiddleware, "__call__", None)  # the way of all other requests
    assert made.client.get(path, headers=headers).status_code == 200
    assert made.client.get(path).status_code == 401


def test_ids_do_not_repeat_across_a_fork() -> None:
    """Two replicas forked from one process would else draw the same."""
    import os

    from serving.identifiers import new_request_id

    new_request_id()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_request_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 64).decode()
    assert len(theirs) == 32
    assert theirs != new_request_id()
