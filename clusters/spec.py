"""Schema of a cluster YAML: unknown keys and impossible combinations are refused with their reason.

A field's comment gives meaning, unit and off-value; clusters/runpod.yaml explains what each costs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clusters.cluster_errors import ClusterError
from clusters.providers import PROVIDERS, provider_class


class StrictSpec(BaseModel):
    """No unknown key, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LocalSpec(StrictSpec):
    """This machine: the search starts its own Ray here."""

    kind: Literal["local"]


class AddressSpec(StrictSpec):
    """A Ray cluster that is already there and that this machine can join as a driver."""

    kind: Literal["address"]
    address: str = Field(pattern=r"^(auto|[\w.\-]+:\d+)$")  # "auto", or host:port of the head's GCS


class GpuChoice(StrictSpec):
    """One row of the list of preference."""

    id: str = Field(min_length=1)  # the service's own identifier, e.g. "NVIDIA RTX A6000"
    batch_size: Literal[2048, 1536] = 2048  # 1536 where the card has 24 GB
    unlisted: bool = False  # true: a name that the provider's list does not have yet


class Volume(StrictSpec):
    """A network volume, mounted on every pod, that outlives them."""

    id: str = Field(min_length=1)
    path: str = Field(default="/workspace", pattern=r"^/.+")


class RentedSpec(StrictSpec):
    """Rented machines of any provider: limits, images, where a run is saved.

    Prices are US dollars; an hour is wall clock from the first create call. A provider derives its own spec
    from this one and adds its keys; everything outside the provider's folder reads these fields only.
    """

    kind: str
    gpus: tuple[GpuChoice, ...] = Field(min_length=1)
    gpus_per_pod: int = Field(default=1, ge=1, le=8)
    trials_per_gpu: int | None = Field(default=None, ge=1, le=8)  # null: by what the first trial measures
    pods: int = Field(default=1, ge=1, le=16)
    image: str = Field(min_length=1)
    disk_gb: int = Field(default=60, ge=10, le=2000)
    volume: Volume | None = None
    store: str | None = Field(default=None, pattern=r"^[a-z0-9]+://.+")  # any fsspec URL
    store_env: tuple[str, ...] = ()  # names of variables the store needs; their values are never written here
    max_usd_per_hour: float = Field(gt=0)  # of the whole cluster
    max_usd: float = Field(gt=0)
    max_hours: float = Field(gt=0, le=240)
    idle_minutes: float = Field(default=15, gt=0)  # no job running for so long: ended
    silence_minutes: float = Field(default=30, gt=0)  # without a heartbeat for so long, the pod ends itself
    boot_minutes: float = Field(default=30, gt=0)  # from create to SSH; pulling an image has taken 27
    network_minutes: float = Field(default=5, gt=0)  # running, but SSH silent, for so long: dead networking
    replacements: int = Field(default=2, ge=0, le=10)  # pods rented again for those that never work, or die
    require_gpu: bool = True  # false: accept a pod whose GPU torch or Ray does not see
    ray_cpus: int | None = Field(default=None, ge=1)  # CPUs Ray sees on a pod; null: what the pod has
    object_store_gb: float | None = Field(default=None, ge=0.1)  # null: Ray's own share of memory

    @property
    def stores_runs(self) -> bool:
        """Whether a pod that ends itself can save the run somewhere first."""
        return self.volume is not None or self.store is not None

    @model_validator(mode="after")
    def refuse_impossible(self) -> RentedSpec:
        """Each refusal names the reason and the way out."""
        if self.volume and self.store:
            raise ValueError("volume and store both say where a run is kept: name one")
        if self.store_env and not self.store:
            raise ValueError("store_env names variables for a store, and no store is named")
        if self.store:
            import fsspec  # type: ignore[import-untyped]

            if (protocol := self.store.partition("://")[0]) not in fsspec.available_protocols():
                raise ValueError(f"store: fsspec knows no {protocol}://; expected such as s3://bucket/folder")
        if len({gpu.id for gpu in self.gpus}) < len(self.gpus):
            raise ValueError("gpus names the same GPU twice: each row is tried once, in order")
        return self


ClusterSpec = LocalSpec | AddressSpec | RentedSpec


def parse_spec(content: dict[str, Any]) -> ClusterSpec:
    """A cluster from plain values, by the spec class of its kind.

    Raises:
        ClusterError: `kind` is missing or not registered.
        ValidationError: an unknown key or an impossible combination.
    """
    if "kind" not in content:
        raise ClusterError(f"kind: missing; expected one of {', '.join(PROVIDERS)}")
    spec: ClusterSpec = provider_class(content["kind"]).spec_class.model_validate(content)
    return spec


def read_spec(path: Path) -> ClusterSpec:
    """The cluster a YAML describes.

    Raises:
        ClusterError: no such file, not YAML, an unknown key, or an impossible combination; with the place and
            the reason of each.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ClusterError(
            f"no cluster file at {path}; clusters/local.yaml and clusters/runpod.yaml exist"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise ClusterError(f"{path} could not be read as YAML: {problem}") from None
    if not isinstance(content, dict):
        raise ClusterError(
            f"{path} holds {type(content).__name__}, expected keys and values with `kind:` first"
        )
    try:
        return parse_spec(content)
    except ClusterError as problem:
        raise ClusterError(f"{path} is not a cluster that can be had:\n  {problem}") from None
    except ValidationError as problem:
        lines = []
        for error in problem.errors():
            location = ".".join(str(part) for part in error["loc"]) or content["kind"]
            reason = error["msg"].removeprefix("Value error, ")
            got = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
            lines.append(f"  {location}: {reason}{got}")
        raise ClusterError(f"{path} is not a cluster that can be had:\n" + "\n".join(lines)) from None
