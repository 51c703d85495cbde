"""A played cloud with real pods, and drivers on it: what the whole-cluster tests stand on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tests.clusters.played.api import PlayedApi
from tests.clusters.played.cloud import Cloud, PlayedPod
from tests.clusters.played.namespaces import Namespaces
from tests.clusters.played.playing import FIELDS

ROOT = Path(__file__).resolve().parents[3]
SMALL = {
    "require_gpu": False,
    "ray_cpus": 1,
    "object_store_gb": 0.1,
    "max_usd_per_hour": 4.0,
    "max_hours": 0.5,
    "max_usd": 2.0,
}
TWO = {"pods": 2, "global_networking": True, "data_centers": ["EU-RO-1"]}
WEBHOOK = "https://discord.invalid/api/webhooks/planted-secret-77"


class Stage:
    """A played cloud, and drivers on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.volume.mkdir()
        self.machines = Namespaces(volumes={"vol1": self.volume})
        self.cloud = Cloud(self.machines, boot_seconds=1.0)
        self.api = PlayedApi(self.cloud, host=self.machines.bridge_ip)
        self.out = folder / "runs" / "played"
        self.log = folder / "driver.log"
        self.drivers: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "RUNPOD_API_URL": self.api.url,
            "RUNPOD_API_KEY": self.cloud.account_key,
            "XDG_STATE_HOME": str(folder / "state"),
            "DISCORD_WEBHOOK_URL": WEBHOOK,
            "PYTHONUNBUFFERED": "1",
        }

    def close(self) -> None:
        for state in self.states():
            for pid in (state["watchdog_pid"],):
                if pid and Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)
        for driver in self.drivers:
            driver.kill()
            driver.wait()
        self.machines.close()

    def states(self) -> list[dict[str, Any]]:
        result = (self.folder / "state").glob("breakthrough/clusters/*/state.json")
        return [json.loads(path.read_text()) for path in result]

    def drive(self, *arguments: str, words: tuple[str, ...] = (), **fields: Any) -> subprocess.Popen[bytes]:
        """Start a driver of the stand-in; its output goes to one log."""
        cluster = self.cluster_file(**fields)
        command = ["-m", "tests.clusters.drive", str(cluster), str(self.out), "--stand-in", *words, "--"]
        return self.python(*command, *arguments)

    def search(self, *arguments: str, **fields: Any) -> subprocess.Popen[bytes]:
        """Start a driver of the search itself, on pods with a played GPU."""
        cluster = self.cluster_file(**fields)
        command = ["-m", "tests.clusters.drive", str(cluster), str(self.out), "--played-gpu", "--"]
        return self.python(*command, *arguments)

    def cluster_file(self, **fields: Any) -> Path:
        cluster = self.folder / "cluster.yaml"
        cluster.write_text(yaml.safe_dump({**FIELDS, **SMALL, **fields}))
        return cluster

    def python(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the project; its output goes to one log."""
        with self.log.open("ab") as log:
            driver = subprocess.Popen(
                [sys.executable, *arguments],
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.drivers.append(driver)
        return driver

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, words: str, *, seconds: float = 240) -> None:
        """Until the driver has said this."""
        self.until(lambda: words in self.said(), words, seconds=seconds)

    def until(self, true: Any, what: str, *, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{what!r} did not come; the driver said:\n{self.said()}"
            time.sleep(0.1)

    def in_pod(self, pod: PlayedPod, script: str) -> str:
        """Run a shell command inside a pod, past SSH: what somebody on the machine would see."""
        init = self.machines.inits[pod.id].pid
        children = Path(f"/proc/{init}/task/{init}/children").read_text().split()
        command = ["nsenter", "-t", children[0], "-m", "-p", "-n", "bash", "-c", script]
        # Whatever lies there may be printed, bytes that are no text among it.
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stdout

    def results(self) -> dict[str, Any]:
        return json.loads((self.out / "results.json").read_text())

    def nothing_is_left(self) -> None:
        """Every pod that was ever created was ended; dollars on both sides are told."""
        assert self.cloud.pods
        assert self.cloud.trouble == []
        assert self.cloud.living() == [], self.said()
        print(json.dumps(self.cloud.ledger(), indent=1))
        assert all(entry["ended_by"] != "STILL RUNNING" for entry in self.cloud.ledger())
