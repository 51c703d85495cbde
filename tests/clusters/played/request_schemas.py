"""The requests that the service accepts, as it documents them; anything else is 422 and names the field."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CreateGpu(Shape):
    id: str
    count: int = Field(default=1, ge=1)
    allowedCudaVersions: list[str] | None = None
    minCudaVersion: str | None = Field(default=None, pattern=r"^\d+\.\d+$")


class NetworkMount(Shape):
    volumeId: str
    path: str


class PersistentMount(Shape):
    size: int = Field(ge=10)
    path: str


class Mounts(Shape):
    network: list[NetworkMount] | None = Field(default=None, max_length=1)
    persistent: PersistentMount | None = None


class CreatePod(Shape):
    name: str = Field(min_length=1)
    image: str
    args: str = ""
    ports: list[str] = []
    env: dict[str, str] = {}
    disk: int = Field(default=20, ge=1)
    registry: str | None = None
    cloud: Literal["SECURE", "COMMUNITY"] = "SECURE"
    cpu: dict[str, object] | None = None
    dataCenterIds: list[str] = []
    globalNetworking: bool = False
    gpu: CreateGpu | None = None
    mounts: Mounts | None = None
    startJupyter: bool = False
    startSsh: bool = False
    templateId: str | None = None


class PodAction(Shape):
    action: Literal["start", "stop", "restart", "terminate"]
