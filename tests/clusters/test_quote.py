"""What a rental will cost: worked by hand, from the catalogue and from the dated file."""

from __future__ import annotations

import pytest

from clusters.cluster_errors import ClusterError
from clusters.quote import Prices, make_quote
from clusters.runpod.runpod_provider import dated_prices
from tests.clusters.played.playing import Play, a_spec

PRICES = Prices("a test", {"NVIDIA RTX A6000": 0.5, "NVIDIA GeForce RTX 4090": 0.75}, {}, 0.0)


def test_the_most_it_can_cost_by_hand() -> None:
    quote = make_quote(a_spec(gpus_per_pod=2, max_usd=3.0, max_hours=4.0), PRICES)
    first, second = quote.offers
    assert first.usd_per_hour == 1.0  # 2 GPUs of 0.5
    assert quote.most_usd(first) == 3.0  # 4 hours would be 4.0, the cap is 3
    assert quote.most_usd(second) == 3.0
    assert "$1.00/h  at most $3.00 (ends after 3.0 h)" in quote.text()
    assert "most it can cost: $3.00" in quote.text()


def test_disk_is_in_the_price() -> None:
    prices = Prices("a test", {"NVIDIA RTX A6000": 0.5}, {}, 0.10)
    quote = make_quote(a_spec(disk_gb=730), prices)  # 730 GB x $0.10 a month of 730 h
    assert quote.usable[0].usd_per_hour == pytest.approx(0.6)


def test_gpus_above_the_limit_or_unknown_or_out_of_stock_are_passed_over() -> None:
    spec = a_spec(
        gpus=[
            {"id": "NVIDIA GeForce RTX 4090"},
            {"id": "NVIDIA H900", "unlisted": True},
            {"id": "NVIDIA RTX A6000"},
        ],
        max_usd_per_hour=0.6,
    )
    quote = make_quote(spec, PRICES)
    assert [offer.gpu for offer in quote.usable] == ["NVIDIA RTX A6000"]
    assert "above max_usd_per_hour $0.60" in quote.text()
    assert "no price is known" in quote.text()
    none_free = Prices("a test", PRICES.gpus, {"NVIDIA RTX A6000": "NONE"}, 0.0)
    with pytest.raises(ClusterError, match="no GPU of the list can be had"):
        make_quote(spec, none_free)


def test_offline_uses_the_dated_file_and_says_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    from clusters.runpod.runpod_provider import RunpodProvider

    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    monkeypatch.setenv("RUNPOD_API_URL", "http://127.0.0.1:9")  # nobody is asked
    text = RunpodProvider().quote(a_spec()).text()
    assert "the price file of 20" in text
    assert dated_prices("SECURE").gpus["NVIDIA RTX A6000"] == 0.53
    assert "NVIDIA A40" not in dated_prices("COMMUNITY").gpus


def test_with_a_key_the_catalogue_is_asked(play: Play) -> None:
    quote = play.provider.quote(a_spec())
    assert quote.source.startswith("RunPod's catalogue")
    assert ("GET", "/v2/catalog/gpus", 200) in play.cloud.calls
