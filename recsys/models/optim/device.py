"""Device of the training: its choice, reduced precision and memory use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from recsys.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """The device of a trial.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto" for the GPU where there is one.

    Returns:
        The device.

    Raises:
        InputError: An unknown name, or a GPU that torch does not see.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {name!r} but torch sees no GPU; use --device cpu")
    return device


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 on a CPU with instructions for it (AVX512-BF16, AMX), else nothing.

    bfloat16 has float32's range, so no loss scaling is needed. A GPU has TF32 instead (``tensor_cores``).

    Args:
        device: Of the training.

    Returns:
        A context for the forward pass.
    """
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if device.type != "cpu" or not (supported and supported()):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def tensor_cores(device: torch.device) -> Iterator[None]:
    """Context with TF32 products of float32 on a GPU; both passes belong inside."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def has_gpu() -> bool:
    """Whether torch sees a GPU now."""
    return bool(torch.cuda.is_available())


def is_lost(device: torch.device) -> bool:
    """Whether a GPU no longer responds: it was removed, or this process's CUDA context is broken."""
    if device.type != "cuda":
        return False
    try:
        torch.zeros(1, device=device).cpu()
    except RuntimeError as error:
        return not isinstance(error, torch.OutOfMemoryError)
    return False


def memory_share(device: torch.device) -> float:
    """Share of the memory of ``device`` in use, by all processes as NVML counts it; 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return 1 - free / total
