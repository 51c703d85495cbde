"""RunPod's dated price list, for planning without network or account."""

from __future__ import annotations

import json
from importlib import resources

from clusters.quote import Prices


def dated_prices(cloud: str) -> Prices:
    """Prices of clusters/prices.json for ``cloud`` (SECURE or COMMUNITY), in US dollars."""
    table = json.loads(resources.files("clusters").joinpath("prices.json").read_text())
    column = cloud.lower()
    gpus = {name: float(row[column]) for name, row in table["gpus"].items() if row[column] is not None}
    source = f"the price file of {table['date']} (not the catalogue of now)"
    return Prices(source, gpus, {}, float(table["disk_usd_per_gb_month"]), market=cloud)
