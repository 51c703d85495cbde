"""What answers requests needs no torch: a server's environment has none."""

from __future__ import annotations

import subprocess
import sys

from tests.house import module_files

SCORERS = sorted(
    name for name in module_files() if name.startswith("recsys.models.") and name.endswith(".scorer")
)
BLOCKED = """
import importlib, sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name, name="torch")
sys.meta_path.insert(0, NoTorch())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_family_has_its_scorer_here() -> None:
    assert len(SCORERS) >= 4


def test_no_scorer_imports_torch() -> None:
    modules = [*SCORERS, "serving.engine.served_release", "recsys.release.recommender"]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *modules], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
