"""Cluster YAML: what ships is valid, and what cannot be had is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters.cluster_errors import ClusterError
from clusters.runpod.runpod_spec import RunpodSpec
from clusters.spec import AddressSpec, LocalSpec, read_spec
from tests.clusters.played.playing import FIELDS

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_every_shipped_file_is_read() -> None:
    files = sorted((ROOT / "clusters").rglob("*.yaml"))
    assert [path.name for path in files] == ["local.yaml", "runpod.yaml"]
    assert isinstance(read_spec(files[0]), LocalSpec)
    spec = read_spec(files[1])
    assert isinstance(spec, RunpodSpec)
    assert [(gpu.id, gpu.batch_size) for gpu in spec.gpus] == [
        ("NVIDIA RTX A6000", 2048),
        ("NVIDIA RTX 6000 Ada Generation", 2048),
        ("NVIDIA A100 80GB PCIe", 2048),
        ("NVIDIA GeForce RTX 4090", 1536),
    ]
    assert (spec.pods, spec.cloud) == (1, "SECURE")


def test_every_field_is_told_in_the_shipped_file_with_a_comment() -> None:
    lines = (ROOT / "clusters" / "runpod.yaml").read_text().splitlines()
    assert lines[0] == "# python search/breakthrough.py --cluster clusters/runpod.yaml"
    for name in RunpodSpec.model_fields:
        line = next(line for line in lines if line.startswith(f"{name}:"))
        assert "#" in line or name in ("kind", "gpus"), f"{name} has no comment"


def test_an_address_is_read(tmp_path: Path) -> None:
    assert read_spec(write(tmp_path, {"kind": "address", "address": "10.0.0.5:6379"})) == AddressSpec(
        kind="address", address="10.0.0.5:6379"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gpu_per_pod": 2}, "gpu_per_pod: Extra inputs are not permitted"),
        ({"pods": 2}, "needs global_networking: true"),
        ({"global_networking": True, "cloud": "COMMUNITY"}, "needs cloud: SECURE"),
        ({"pods": 2, "global_networking": True}, "exactly one entry in data_centers, got 0"),
        ({"global_networking": True, "gpus": [{"id": "AMD Instinct MI300X OAM"}]}, "needs NVIDIA GPUs"),
        ({"volume": {"id": "v"}}, "one centre the volume lives in"),
        ({"volume": {"id": "v"}, "data_centers": ["EU-RO-1"], "store": "s3://b/p"}, "name one"),
        ({"store_env": ["KEY"]}, "no store is named"),
        ({"gpus": []}, "gpus: "),
        ({"gpus": [{"id": "NVIDIA A40"}, {"id": "NVIDIA A40"}]}, "the same GPU twice"),
        ({"gpus": [{"id": "NVIDIA A40", "batch_size": 1024}]}, "gpus.0.batch_size"),
        ({"max_usd": 0}, "max_usd: "),
        ({"kind": "aws"}, "runpod"),
    ],
)
def test_the_impossible_is_refused_with_its_reason(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ClusterError) as caught:
        read_spec(write(tmp_path, {**FIELDS, **changes}))
    assert reason in str(caught.value)
    assert "cluster.yaml" in str(caught.value)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no cluster file at .*clusters/local\.yaml"):
        read_spec(tmp_path / "missing.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: [")
    with pytest.raises(ClusterError, match="could not be read as YAML"):
        read_spec(broken)
    broken.write_text("just words")
    with pytest.raises(ClusterError, match="holds str, expected keys and values"):
        read_spec(broken)
