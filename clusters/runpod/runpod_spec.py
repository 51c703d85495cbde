"""RunPod's own keys of a cluster YAML, and the combinations that RunPod cannot provide."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from clusters.runpod.gpu_names import GPU_NAMES, near_names
from clusters.spec import RentedSpec

DataCenter = Annotated[str, Field(pattern=r"^[A-Z]{2,3}-[A-Z]{2,3}-\d+$")]  # e.g. EU-RO-1


class RunpodSpec(RentedSpec):
    """Pods on RunPod. What every rented kind has in common is in `RentedSpec`."""

    kind: Literal["runpod"]
    cloud: Literal["SECURE", "COMMUNITY"] = "SECURE"
    data_centers: tuple[DataCenter, ...] = ()  # empty: the service chooses
    global_networking: bool = False
    image_start: str = Field(
        default="/start.sh", min_length=1
    )  # what the image runs by itself, after our switch
    min_cuda: str | None = Field(default=None, pattern=r"^\d+\.\d+$")

    @model_validator(mode="after")
    def refuse_what_runpod_cannot_do(self) -> RunpodSpec:
        """Each refusal names the reason and the way out."""
        for gpu in self.gpus:
            if not gpu.unlisted and gpu.id not in GPU_NAMES:
                near = ", ".join(near_names(gpu.id)) or "a name of clusters/runpod/gpu_names.py"
                raise ValueError(
                    f"gpus: {gpu.id!r} is no GPU of RunPod's; did you mean {near}? (a card newer than that "
                    "list is taken with unlisted: true)"
                )
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
        return self
