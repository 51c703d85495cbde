"""Which device to train on, what it can do quickly, and how full its memory is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from recsys.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """The device called ``name``; "auto" is the GPU where there is one. Raises InputError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device is {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {name!r} but torch sees no GPU; use --device cpu")
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are faster than float32 ones here (tensor cores, AVX512-BF16, AMX)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 where that is fast, else nothing. No loss scaling: bfloat16 keeps the range."""
    if not fast_bfloat16(device):
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def has_gpu() -> bool:
    """Whether torch sees a GPU now."""
    return bool(torch.cuda.is_available())


def is_lost(device: torch.device) -> bool:
    """Whether a GPU that was there answers no more: taken away, or this process's context on it is broken."""
    if device.type != "cuda":
        return False
    try:
        torch.zeros(1, device=device).cpu()
    except RuntimeError as error:
        return not isinstance(error, torch.OutOfMemoryError)
    return False


def memory_share(device: torch.device) -> float:
    """Used share of the whole device's memory (everyone's, as NVML counts it); 0 on a CPU."""
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    return 1 - free / total
