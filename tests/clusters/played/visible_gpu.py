"""A GPU that is played: sent to pods as `sitecustomize.py`, it makes torch say that one is there.

Training itself stays on the CPU. The GPU is gone once the file `gpu-lost` lies in ~/breakthrough.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

LOST = Path.home() / "breakthrough" / "gpu-lost"


def seen(torch: ModuleType) -> None:
    torch.cuda.is_available = lambda: not LOST.exists()
    torch.cuda.device_count = lambda: int(not LOST.exists())


def on_cpu(device: ModuleType) -> None:
    device.pick_device = lambda name="auto": device.torch.device("cpu")


CHANGES = {"torch": seen, "recsys.models.optim.device": on_cpu}


class AfterImport(MetaPathFinder):
    """Changes a module at the end of its import."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in CHANGES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        assert spec is not None
        assert spec.loader is not None
        execute, change = spec.loader.exec_module, CHANGES[name]

        def changed(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, AfterImport())
