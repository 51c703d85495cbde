from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.api import response_schemas
from tests.serving.running import ADMIN, Running, running
from tests.waiting import wait_for

KEY = "the-api-key"


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path) -> Iterator[Running]:
    with running(
        tmp_path,
        releases,
        access_log=str(tmp_path / "access.jsonl"),
        max_body_bytes=2_000,
    ) as entry:
        yield entry


def lines(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the access log so far."""
    path = folder / "access.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"ratings": [}', b"null", b"[]", b'"\\ud800"'])
def test_malformed_bodies(shared: Running, body: bytes) -> None:
    answer = shared.client.post(
        "/v1/recommendations", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)
    response_schemas.ErrorResponse.model_validate(answer.json(), strict=True)


def test_deep_and_wide_json_is_refused_quietly(shared: Running) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    answer = shared.client.post("/v1/feedback", content=deep, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


def test_a_body_of_100_mb_gets_413(made: Running) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_000_000

    messages = made.client.post("/v1/feedback", content=b"x" * 100_000_000)
    streamed = made.client.post("/v1/feedback", content=chunks())
    for answer in (messages, streamed):
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert "2000 bytes" in answer.json()["error"]["message"]
    assert made.client.get("/healthz").status_code == 200


def test_a_false_content_length_hurts_nobody(made: Running) -> None:
    with socket.create_connection(("127.0.0.1", made.service.settings.port), timeout=120) as line:
        line.sendall(
            b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\nshort"
        )
        assert made.list("u1")["arm"] in "ab"
    assert made.client.get("/healthz").status_code == 200


def test_request_ids_are_kept_or_made(shared: Running) -> None:
    answer = shared.client.get("/healthz", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    answer = shared.client.get("/healthz", headers={"x-request-id": "not ok; drop table"})
    assert len(answer.headers["x-request-id"]) == 32


def test_the_api_key_is_asked_for_on_every_route(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_API_KEY", KEY)
    monkeypatch.setenv("RECSYS_ADMIN_TOKEN", ADMIN)
    with running(tmp_path, releases) as made:
        paths = made.client.get("/openapi.json").json()["paths"]
        assert len(paths) > 10
        for path, methods in paths.items():
            for method in methods:
                wanted = path in ("/healthz", "/readyz")
                url = path.format(user_id="u1", item_id="i1", name="main")
                assert (made.client.request(method, url).status_code != 401) == wanted, path
                wrong = {"authorization": "Bearer wrong", "x-api-key": "wrong"}
                assert (made.client.request(method, url, headers=wrong).status_code != 401) == wanted
        for header in (
            {"authorization": f"Bearer {KEY}"},
            {"x-api-key": KEY},
            {"authorization": f"Bearer {ADMIN}"},
        ):
            assert made.client.get("/v1/about", headers=header).status_code == 200
        body = {
            "revision": 0,
            "arms": made.client.get("/v1/experiments/main", headers={"x-api-key": KEY}).json()["arms"],
        }
        with_key = made.client.put(
            "/v1/experiments/main", json=body, headers={"authorization": f"Bearer {KEY}"}
        )
        assert with_key.status_code == 403


def test_the_log_has_a_line_a_request_and_no_person(made: Running, tmp_path: Path) -> None:
    first = made.list("u1")
    made.list("u1")
    made.list("u2")
    made.client.get("/nowhere", headers={"x-request-id": "lost"})
    wait_for(lambda: len(lines(tmp_path)) == 4)
    entry, two, other, lost = lines(tmp_path)
    assert entry["user_id"] == two["user_id"] != other["user_id"]
    assert "u1" not in entry["user_id"]
    assert (entry["arm"], entry["source"]) == (first["arm"], "personal")
    assert first["model_version"].startswith(entry["version"])
    assert entry["exposure_id"] == first["exposure_id"]
    assert (lost["status"], lost["request_id"], lost["route"]) == (404, "lost", "unknown")


def test_a_failure_of_ours_is_a_plain_500(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something nobody foresaw: the answer has the shape, the log the reason."""
    monkeypatch.setattr(shared.service, "computation", None)
    answer = shared.client.get("/v1/popular")
    assert answer.status_code == 500
    body = response_schemas.ErrorResponse.model_validate(answer.json(), strict=True)
    assert body.error.code == "internal"
    assert "Traceback" not in answer.text


def test_metrics_count_by_route_arm_and_source(made: Running) -> None:
    messages = [made.list("u1"), made.list("nobody"), made.list("u2")]
    made.client.get("/v1/users/u1/recommendations?count=0")
    families = {
        family.name: family for family in text_string_to_metric_families(made.client.get("/metrics").text)
    }
    route = "/v1/users/{user_id}/recommendations"
    counts = {
        (sample.labels["arm"], sample.labels["source"]): sample.value
        for sample in families["recsys_request_seconds"].samples
        if sample.name.endswith("_count") and sample.labels["route"] == route and sample.labels["arm"]
    }
    assert sum(counts.values()) == 3
    assert counts[messages[1]["arm"], "popular"] >= 1
    edges = {
        float(sample.labels["le"])
        for sample in families["recsys_request_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert {0.005, 0.01, 0.02, 0.05} <= edges
    statuses = {
        sample.labels["status"]: sample.value
        for sample in families["recsys_requests"].samples
        if sample.labels["route"] == route and sample.name.endswith("_total")
    }
    assert statuses == {"200": 3.0, "422": 1.0}
