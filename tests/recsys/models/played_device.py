"""A graphics card played by torch's meta device: shapes and devices are real, numbers are not.

``DeviceWatch`` sees every operation that reaches a backend. It counts those that a card would run as kernels,
and what crosses between card and host; operations that mix devices, or whose output's size the host would
have to wait for, are errors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CARD = torch.device("meta")
# Their result's size depends on values: on a card the host waits for it.
SIZED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "bincount"}
# Bookkeeping, not work on the card.
FREE = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias", "lift_fresh",
    "set_", "resize_", "_sparse_csr_tensor_unsafe", "_sparse_compressed_tensor_unsafe",
}  # fmt: skip


class Noise:
    """Draws of the right shape on the played card; the state is a host's."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device

    def fused_dropout(self, x: Tensor, share: float) -> Tensor:
        return torch._fused_dropout(x, 1 - share)[0]

    def normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, device=self.device)

    def order(self, count: int) -> Tensor:
        return torch.randperm(count, device=self.device)

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass


class DeviceWatch(TorchDispatchMode):
    """Counts ``kernels`` by name, ``uploads``, and ``downloads`` (copies and single numbers that the host
    waits for)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: Counter[str] = Counter()
        self.uploads = self.downloads = 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = function._schema.name.removeprefix("aten::")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_card = [tensor for tensor in tensors if tensor.device.type == CARD.type]
        target = kwargs.get("device")
        if name in ("_to_copy", "copy_"):
            return self._copied(function, name, args, kwargs, tensors)
        if not on_card:
            if target is not None and torch.device(target).type == CARD.type and tensors:
                self.uploads += 1
            elif target is not None and torch.device(target).type == CARD.type:
                self.kernels[name] += name not in FREE
            return function(*args, **kwargs)
        if name == "_linalg_check_errors":
            self.downloads += 1
            return None
        if name == "_local_scalar_dense":
            self.downloads += 1
            return False if on_card[0].dtype == torch.bool else 0
        mixed = [tensor for tensor in tensors if tensor.device.type != CARD.type and tensor.dim() > 0]
        if mixed:
            raise AssertionError(f"{name} mixes the card with the host: {[tuple(t.shape) for t in tensors]}")
        if name in SIZED_BY_VALUES or any(leaf.dtype == torch.bool for leaf in _indices(name, args)):
            raise AssertionError(f"{name}: the host waits for the size of its result")
        if not function.is_view and name not in FREE:
            self.kernels[name] += 1
        if any(tensor.layout == torch.sparse_csr for tensor in on_card):
            return _sparse(name, function, args, kwargs)
        return function(*args, **kwargs)

    def _copied(
        self, function: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> Any:
        if name == "copy_":
            source, target = args[1].device.type, args[0].device.type
        else:
            source = args[0].device.type
            target = torch.device(kwargs.get("device") or args[0].device).type
        if source == target:
            self.kernels[name] += target == CARD.type
            return function(*args, **kwargs)
        if target == CARD.type:
            self.uploads += 1
            return args[0] if name == "copy_" else function(*args, **kwargs)
        self.downloads += 1
        if name == "copy_":
            return args[0].zero_()
        return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)


def _indices(name: str, args: Sequence[Any]) -> list[Tensor]:
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return []
    return [index for index in args[1] if index is not None]


def _sparse(name: str, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Products of CSR matrices have no meta kernels: their shapes are worked out here."""
    if name in ("mm", "_sparse_mm"):
        return torch.empty(args[0].shape[0], args[1].shape[1], device=CARD)
    if name == "addmm":
        return torch.empty(args[1].shape[0], args[2].shape[1], device=CARD)
    return function(*args, **kwargs)
