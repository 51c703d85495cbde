"""OpenTelemetry traces (extra ``trace``): a span for each request, with a child for each stage.

Spans are created after the response was sent, from times that are measured anyway, so that tracing does not
delay requests. OpenTelemetry's environment variables select the exporter (OTEL_EXPORTER_OTLP_ENDPOINT,
default http://localhost:4318). A caller's ``traceparent`` is continued.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys.errors import InputError

SERVICE = "recommendations"
TOTAL = "total"  # a stage that the request's own span covers


class RequestTracer:
    """Exports the spans of finished requests."""

    def __init__(self, exporter: Any = None) -> None:
        """``exporter`` is an OpenTelemetry span exporter, by default OTLP over HTTP.

        Raises:
            InputError: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter()
        except ImportError:
            raise InputError(
                "trace: true needs OpenTelemetry: python -m pip install 'movielens-breakthrough[serve,trace]'"
            ) from None
        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE)

    def record(
        self,
        headers: Mapping[bytes, bytes],
        *,
        method: str,
        route: str,
        status: int,
        began_ns: int,
        ended_ns: int,
        stages: Mapping[str, float],
        fields: Mapping[str, Any],
    ) -> None:
        """Record a request.

        Args:
            headers: of the request.
            method, route, status: of the request and its answer.
            began_ns, ended_ns: Unix nanoseconds.
            stages: milliseconds by stage, in the order that they ran.
            fields: the access log's fields: arm, source, version. User ids are not exported.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = headers.get(b"traceparent", b"").decode("latin-1")
        context = TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {})
        list_attributes = {
            f"recommendations.{name}": fields[name] for name in ("arm", "source", "version") if name in fields
        }
        span = self._tracer.start_span(
            f"{method} {route}",
            context=context,
            kind=SpanKind.SERVER,
            start_time=began_ns,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                **list_attributes,
            },
        )
        at, inside = began_ns, set_span_in_context(span)
        for name, milliseconds in stages.items():
            if name != TOTAL:
                stage = self._tracer.start_span(name, context=inside, start_time=at)
                at += round(milliseconds * 1e6)
                stage.end(at)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(max(ended_ns, at))

    def flush(self) -> None:
        """Export waiting spans."""
        self._provider.force_flush(5_000)
