"""Traces: a span a request with its stages inside, a caller's trace continued, nobody's id in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from serving.api.access_log import AccessLog
from serving.api.asgi import create_app
from serving.api.middleware import ApiMiddleware
from serving.tracing import RequestTracer
from tests.serving.running import Running

CALLER = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def test_a_list_is_a_span_with_its_stages(shared: Running, exporter: InMemorySpanExporter) -> None:
    tracer = RequestTracer(exporter)
    app = ApiMiddleware(
        create_app(shared.service),
        metrics=shared.service.metrics,
        keys=(),
        most_bytes=10_000,
        access_log=AccessLog(None),
        tracer=tracer,
    )

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01"}
            listed = await client.get("/v1/users/u3/recommendations?count=19", headers=headers)
            await client.get("/v1/nothing")
        return listed

    answer = asyncio.run(ask())
    assert answer.status_code == 200
    tracer.flush()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request = spans["GET /v1/users/{user_id}/recommendations"]
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["recommendations.arm"] == answer.json()["arm"]
    assert format(request.context.trace_id, "032x") == CALLER
    stages = [
        span for span in spans.values() if span.parent and span.parent.span_id == request.context.span_id
    ]
    assert {"assign", "wait", "retrieve", "score"} <= {span.name for span in stages}
    for span in stages:
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time  # type: ignore[operator]
    assert "u3" not in str([span.to_json() for span in spans.values()])
    assert spans["GET unknown"].attributes["http.response.status_code"] == 404  # type: ignore[index]


def test_the_setting_is_off_unless_asked_for(shared: Running, releases: dict[str, Path]) -> None:
    assert shared.service.settings.trace is False
