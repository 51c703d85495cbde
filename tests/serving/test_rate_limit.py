"""Rate limits: counted by key or address, refused with a time to come back, probes never."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import InputError
from serving.api.asgi import API_KEY
from serving.api.rate_limit import RateLimiter, parse_rate
from serving.settings import read_settings
from tests.serving.running import running


def test_a_caller_has_its_own_window() -> None:
    limiter = RateLimiter(parse_rate("3/hour"))
    assert [limiter.retry_after(b"a", "1.1.1.1") for _ in range(3)] == [None] * 3
    wait = limiter.retry_after(b"a", "2.2.2.2")
    assert wait is not None
    assert 1 <= wait <= 3600
    assert limiter.retry_after(b"b", "1.1.1.1") is None
    assert limiter.retry_after(b"", "1.1.1.1") is None


@pytest.mark.parametrize("text", ["", "fast", "0/second", "10/fortnight", "-1/second"])
def test_what_is_no_rate_is_refused_where_it_is_written(text: str) -> None:
    with pytest.raises(InputError, match="rate_limit"):
        read_settings({"rate_limit": text}, where="serve.yaml")
    assert read_settings({"rate_limit": "5000 per minute"}, where="serve.yaml").rate_limit


@pytest.mark.slow
def test_over_http_too_many_get_429_and_a_time_to_come_back(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, "first key")
    with running(tmp_path, releases, rate_limit="5/hour") as made:
        headers = {"x-api-key": "first key"}
        answers = [made.client.get("/v1/popular", headers=headers) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "rate_limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
        assert "first key" not in refused.text
        for path in ("/healthz", "/readyz", "/"):
            assert made.client.get(path).status_code == 200
