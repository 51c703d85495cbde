"""A cluster YAML, checked: three kinds, and every impossible combination refused with its reason.

Pydantic stands here because a person wrote the file. A field's comment gives meaning, unit and off-value;
what each costs is told in clusters/runpod.yaml itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from clusters.errors import ClusterError


class StrictSpec(BaseModel):
    """No unknown key, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Volume(StrictSpec):
    """A network volume, mounted on every pod, that outlives them."""

    id: str = Field(min_length=1)
    path: str = Field(default="/workspace", pattern=r"^/.+")


class RunpodSpec(StrictSpec):
    """Pods on RunPod. Prices are US dollars, an hour is wall clock from the first create call."""

    kind: Literal["runpod"]
    gpus: tuple[GpuChoice, ...] = Field(min_length=1)
    gpus_per_pod: int = Field(default=1, ge=1, le=8)
    trials_per_gpu: int = Field(default=1, ge=1, le=8)
    pods: int = Field(default=1, ge=1, le=16)
    cloud: Literal["SECURE", "COMMUNITY"] = "SECURE"
    data_centers: tuple[str, ...] = ()  # empty: the service chooses
    global_networking: bool = False
    image: str = Field(min_length=1)
    image_start: str = "/start.sh"  # what the image runs by itself; our dead man's switch starts before it
    min_cuda: str | None = Field(default=None, pattern=r"^\d+\.\d+$")
    disk_gb: int = Field(default=60, ge=10, le=2000)
    volume: Volume | None = None
    store: str | None = Field(default=None, pattern=r"^[a-z0-9]+://.+")  # any fsspec URL
    store_env: tuple[str, ...] = ()  # names of variables the store needs; their values are never written here
    max_usd_per_hour: float = Field(gt=0)  # of the whole cluster
    max_usd: float = Field(gt=0)
    max_hours: float = Field(gt=0, le=240)
    idle_minutes: float = Field(default=15, gt=0)  # no job running for so long: ended
    silence_minutes: float = Field(default=30, gt=0)  # nobody heard from for so long: the pod ends itself
    boot_minutes: float = Field(default=30, gt=0)  # from create to SSH; pulling an image has taken 27
    network_minutes: float = Field(default=5, gt=0)  # running, but SSH silent, for so long: dead networking
    replacements: int = Field(default=2, ge=0, le=10)  # pods rented again for those that never work, or die
    ray_cpus: int | None = Field(default=None, ge=1)  # CPUs Ray sees on a pod; null: what the pod has
    object_store_gb: float | None = Field(default=None, ge=0.1)  # null: Ray's own share of memory

    @property
    def keeps_runs(self) -> bool:
        """Whether a pod that ends itself can save the run somewhere first."""
        return self.volume is not None or self.store is not None

    @model_validator(mode="after")
    def refuse_impossible(self) -> RunpodSpec:
        """Each refusal names the reason and the way out."""
        if self.pods > 1 and not self.global_networking:
            raise ValueError(
                f"pods: {self.pods} needs global_networking: true (without it pods cannot reach each other, "
                "and Ray nodes must); or keep pods: 1 and raise gpus_per_pod"
            )
        if self.global_networking and self.cloud == "COMMUNITY":
            raise ValueError(
                "global_networking: true needs cloud: SECURE (Community machines have no private network)"
            )
        if self.global_networking and (others := [g.id for g in self.gpus if not g.id.startswith("NVIDIA")]):
            raise ValueError(f"global_networking: true needs NVIDIA GPUs, and gpus names {', '.join(others)}")
        if self.pods > 1 and len(self.data_centers) != 1:
            raise ValueError(
                f"pods: {self.pods} needs exactly one entry in data_centers, got {len(self.data_centers)} "
                "(between centres the private network gives 100 Mbps at best, and a volume lives in one)"
            )
        if self.volume and (self.cloud == "COMMUNITY" or len(self.data_centers) != 1):
            raise ValueError(
                "volume needs cloud: SECURE and, in data_centers, the one centre the volume lives in"
            )
        if self.volume and self.store:
            raise ValueError("volume and store both say where a run is kept: name one")
        if self.store_env and not self.store:
            raise ValueError("store_env names variables for a store, and no store is named")
        if len({gpu.id for gpu in self.gpus}) < len(self.gpus):
            raise ValueError("gpus names the same GPU twice: each row is tried once, in order")
        return self


ClusterSpec = LocalSpec | AddressSpec | RunpodSpec
ADAPTER: TypeAdapter[ClusterSpec] = TypeAdapter(Annotated[ClusterSpec, Field(discriminator="kind")])


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
        return ADAPTER.validate_python(content)
    except ValidationError as problem:
        kinds = {"local", "address", "runpod"}
        lines = []
        for error in problem.errors():
            place = ".".join(str(part) for part in error["loc"] if part not in kinds) or "kind"
            reason = error["msg"].removeprefix("Value error, ")
            got = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
            lines.append(f"  {place}: {reason}{got}")
        raise ClusterError(f"{path} is not a cluster that can be had:\n" + "\n".join(lines)) from None
