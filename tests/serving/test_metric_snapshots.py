"""Counters of several processes in one answer, and what a full or damaged folder does to them: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.service_metrics import ServiceMetrics

OTHER = """
import sys, time
from pathlib import Path
from serving.service_metrics import ServiceMetrics
metrics = ServiceMetrics(Path(sys.argv[1]))
metrics.requests.labels("/x", "200").inc(5)
metrics.seconds.labels("/x", "a", "personal").observe(0.002)
metrics.waiting.set(3)
metrics.store.set(0)
metrics.share.labels("main", "a").set(0.25)
metrics.deployment_changed(7)
print("ready", flush=True)
sys.stdin.read()
"""


def samples(metrics: ServiceMetrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_values_of_all_processes_are_merged_and_the_dead_keep_their_counters(tmp_path: Path) -> None:
    metrics = ServiceMetrics(tmp_path)
    metrics.share.labels("main", "a").set(0.5)
    metrics.deployment_changed(6)
    metrics.requests.labels("/x", "200").inc(2)
    metrics.waiting.set(1)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        both = samples(metrics)
        other.kill()
    assert both["recsys_requests_total[/x][200]"] == 7
    assert both["recsys_request_seconds_count[a][/x][personal]"] == 1
    assert both["recsys_request_seconds_bucket[a][0.0025][/x][personal]"] == 1
    assert both["recsys_exposures_waiting"] == 4
    assert both["recsys_event_store_available"] == 0
    assert both["recsys_replicas"] == 2
    assert both["recsys_arm_share[a][main]"] == 0.25  # of the newest revision
    alone = samples(metrics)
    assert alone["recsys_requests_total[/x][200]"] == 7
    assert (alone["recsys_exposures_waiting"], alone["recsys_replicas"]) == (1, 1)


@pytest.mark.parametrize("damage", ["gone", "torn", "other"])
def test_a_damaged_folder_costs_only_the_others(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "metrics"
    if damage == "gone":
        folder.write_text("a file where the folder should be")
    metrics = ServiceMetrics(folder)
    metrics.requests.labels("/x", "200").inc()
    if damage != "gone":
        (folder / "process_1.json").write_text('{"pid": 1, "famil' if damage == "torn" else "[3]")
    metrics.save()
    metrics.save()
    assert samples(metrics)["recsys_requests_total[/x][200]"] == 1
    assert len([record for record in caplog.records if "cannot be saved" in record.message]) == (
        1 if damage == "gone" else 0
    )


@pytest.mark.system
def test_a_full_metrics_folder_does_not_end_the_process(tmp_path: Path) -> None:
    """A file system of 128 KiB that fills up. Memory-mapped counters end here with a bus error."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", tmp_path], check=True)
    try:
        metrics = ServiceMetrics(tmp_path)
        filler = tmp_path / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * (1 << 20))
        for number in range(3_000):
            metrics.requests.labels(f"/{number}", "200").inc()
        metrics.save()
        assert samples(metrics)["recsys_requests_total[/2999][200]"] == 1
        filler.unlink()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
