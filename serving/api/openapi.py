"""The OpenAPI description: FastAPI's schema of the routes, with the security schemes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

KEY_SCHEMES = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "RECSYS_API_KEY, if the server has one",
    },
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The API key, or RECSYS_ADMIN_TOKEN, which is valid for all routes",
    },
}
OPEN_PATHS = ("/healthz", "/readyz")


def describe_security(app: FastAPI) -> None:
    """Add security to every operation: the key as header or bearer token, or none on a server without a
    key."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema.setdefault("components", {})["securitySchemes"] = KEY_SCHEMES
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    choices: list[dict[str, list[str]]] = (
                        [] if path in OPEN_PATHS else [{}, {"ApiKey": []}, {"HTTPBearer": []}]
                    )
                    operation.setdefault("security", choices)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
