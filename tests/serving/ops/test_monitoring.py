"""Alerts and dashboard ask only for metrics that are exported, with labels that those really have."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.service_metrics import ServiceMetrics

FOLDER = Path(__file__).resolve().parents[3] / "serving" / "monitoring"


def exported() -> dict[str, set[str]]:
    """Name of every exported series and its labels, from the exposition text itself."""
    metrics = ServiceMetrics()
    for collector in vars(metrics).values():
        names = getattr(collector, "_labelnames", ())
        if names:
            made = collector.labels(*["x"] * len(names))
            if hasattr(made, "observe"):
                made.observe(0.01)
    result: dict[str, set[str]] = {}
    for line in metrics.text().decode().splitlines():
        match = re.match(r"(recsys_\w+)(?:\{(.*)\})? ", line)
        if match:
            result.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    return result


def expressions() -> list[str]:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((FOLDER / "grafana.json").read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(alerts) >= 5
    assert len(panels) >= 10
    return alerts + panels


def test_every_metric_asked_for_is_exported_with_those_labels() -> None:
    known = exported()
    for expression in expressions():
        names = re.findall(r"recsys_\w+", expression)
        assert names
        assert set(names) <= known.keys(), expression
        labels = set().union(*(known[name] for name in names))
        for group in re.findall(r"by \(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",")} <= labels, expression
        for label in re.findall(r"[{,]\s*(\w+)\s*=", expression):
            assert label in labels, expression


@pytest.mark.system
def test_promtool_accepts_rules_and_configuration() -> None:
    for check, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        messages = subprocess.run(["promtool", "check", check, FOLDER / name], capture_output=True, text=True)
        assert messages.returncode == 0, messages.stderr
        assert "SUCCESS" in messages.stdout


@pytest.mark.system
def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    queries = [expression.replace("$__rate_interval", "1m") for expression in expressions()]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    for broken in (False, True):
        if broken:
            rules[0]["expr"] += ")"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
        assert (done.returncode != 0) == broken, done.stderr
