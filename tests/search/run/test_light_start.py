"""A request is read and checked before Ray, torch and Optuna are imported: they take seconds."""

from __future__ import annotations

import subprocess
import sys

CHECK = """
import sys
import search.run.run_command
from search.run.workload import main
assert main(["--plan", "quick"]) == 0
print(sorted({"ray", "torch", "optuna", "scipy.stats"} & sys.modules.keys()))
"""


def test_a_plan_is_checked_without_ray_torch_or_optuna() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
