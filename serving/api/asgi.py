"""The ASGI application: the list of routers, and the middleware around them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from recsys.pseudonyms import pseudonym_key
from serving.api import (
    catalogue_routes,
    experiments,
    feedback,
    health,
    http_errors,
    items,
    operations,
    recommendations,
    rule_routes,
)
from serving.api.access_log import AccessLog
from serving.api.cached_lists import GZIP_LEVEL, CachedListMiddleware
from serving.api.dependencies import ADMIN_TOKEN
from serving.api.etags import StaticPage
from serving.api.middleware import ApiMiddleware
from serving.api.openapi import describe_security
from serving.api.operations import OperationsApi
from serving.api.rate_limit import RateLimiter, parse_rate
from serving.api.security import with_cors
from serving.engine.service import Service
from serving.tracing import RequestTracer

STATIC_PAGES = (
    ("/", "index.html", "text/html"),
    ("/operations", "operations.html", "text/html"),
    ("/docs", "docs.html", "text/html"),
    ("/favicon.ico", "icon.svg", "image/svg+xml"),
)
GZIP_BYTES = 2_048  # smaller answers are not compressed
API_KEY = "RECSYS_API_KEY"
PAGES = Path(__file__).resolve().parent.parent / "pages"
ROUTERS = [
    recommendations.router,
    items.router,
    catalogue_routes.router,
    feedback.router,
    experiments.router,
    rule_routes.router,
    operations.router,
    health.router,
]
# Pages load no third-party content and may not be framed.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def create_app(service: Service, client: OperationsApi | None = None) -> FastAPI:
    """The routes without middleware. ``client`` reaches the operations process, None where none runs."""
    app = FastAPI(
        title="Recommendations",
        version="1",
        description="Ranked lists from a release, with A/B tests. All errors have one JSON shape.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect names the host and scheme that a proxy in front hides
    )
    app.state.service = service
    app.state.operations = client
    http_errors.add_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)

    for path, name, media_type in STATIC_PAGES:
        page = StaticPage(PAGES / name, media_type, PAGE_HEADERS)
        app.get(path, include_in_schema=False)(page.response)
    describe_security(app)
    app.mount("/pages", StaticFiles(directory=PAGES), name="pages")
    return app


def _with_gzip(app: ASGIApp) -> ASGIApp:
    return GZipMiddleware(app, minimum_size=GZIP_BYTES, compresslevel=GZIP_LEVEL)


def create_asgi(service: Service, client: OperationsApi | None = None) -> ASGIApp:
    """The application that a server runs. The admin token is also valid as an API key."""
    settings = service.settings
    api_key = os.environ.get(API_KEY, "")
    keys: list[Any] = [key for key in (api_key, os.environ.get(ADMIN_TOKEN, "")) if key] if api_key else []
    guarded = ApiMiddleware(
        CachedListMiddleware(
            create_app(service, client), service, compress=_with_gzip, compress_from=GZIP_BYTES
        ),
        metrics=service.metrics,
        keys=tuple(keys),
        most_bytes=settings.max_body_bytes,
        tracer=RequestTracer() if settings.trace else None,
        rate_limiter=None if settings.rate_limit is None else RateLimiter(parse_rate(settings.rate_limit)),
        hosts=None if keys or not settings.loopback else tuple(settings.allowed_hosts),
        access_log=AccessLog(
            Path(settings.access_log) if settings.access_log else None,
            key=pseudonym_key(settings.events) if settings.hash_user_ids else None,
        ),
    )
    return with_cors(guarded, settings.cors_origins)
