"""A minimal keep-alive HTTP client for replay, which often shares the service's cores."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from recsys.errors import InputError

TIMEOUT_SECONDS = 10.0
FAILURES = (http.client.HTTPException, OSError)


class ApiConnection:
    """A connection to ``address``, an http or https URL whose path prefixes all others. Not thread-safe.

    Redirects and proxies are not followed. Raises InputError for any other address."""

    def __init__(self, address: str, *, key: str = "") -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{address!r} is not an address: expected one like http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        self._before = parts.path.rstrip("/")
        self._headers = {"X-API-Key": key} if key else {}

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body. A request is repeated once on a closed connection, which is safe: feedback is
        stored once by its event id. Raises one of ``FAILURES``."""
        sent = None if body is None else json.dumps(body).encode()
        headers = self._headers if sent is None else {**self._headers, "Content-Type": "application/json"}
        for last in (False, True):
            try:
                self._http.request(method, self._before + path, sent, headers)
                answer = self._http.getresponse()
                return answer.status, answer.read()
            except FAILURES as error:
                self._http.close()
                if last or not isinstance(error, ConnectionError):
                    raise
        raise AssertionError("the second try returns or raises")
