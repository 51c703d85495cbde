"""Make a machine a Ray node: guard first, then packages, then Ray with token auth. Runs there, by SSH.

Reads one JSON object from stdin (secrets come that way and lie in 0600 files after); prints a line a step,
and at the end `READY`. Can be run again: what is done is not done twice.

    python3 clusters/bootstrap/node.py < settings.json      in ~/breakthrough/code
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

BASE = Path.home() / "breakthrough"
RAY_STARTS = 3
HEAD_PORT = 6379
HEAD_SECONDS = 1500.0  # the head may have packages to install
WARMED = "import search.run.search_run"  # and with it torch, Ray Tune and Optuna
# A pod that vanishes closes no connection. Ray gives one up after 5 + 2 minutes (its clients' keep-alive) and
# counts a node as dead after about 65 s; with these it is 30 s and about 36 s. They must be equal on every
# node: a server takes pings as often as its own setting says, and no more.
PATIENCE = {
    "RAY_grpc_client_keepalive_time_ms": "15000",
    "RAY_grpc_client_keepalive_timeout_ms": "15000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "6000",
    "RAY_health_check_failure_threshold": "4",
}


def log(text: str) -> None:
    print(text, flush=True)


def private(path: Path, text: str) -> None:
    """A file for its owner only from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def is_guard(pid: str) -> bool:
    """Whether this process is a guard: after a container's restart its id may be another's."""
    try:
        return b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def start_guard(settings: dict[str, Any]) -> None:
    """The guard inside the pod, in its own session; a running one reads the new settings by itself."""
    private(BASE / "guard.json", json.dumps(settings["guard"]))
    (BASE / "heartbeat").touch()
    pid_file = BASE / "guard.pid"
    if pid_file.exists() and is_guard(pid_file.read_text().strip()):
        return
    output = (BASE / "guard.log").open("a")
    script = Path(__file__).with_name("guard.py")
    child = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    pid_file.write_text(str(child.pid))
    (BASE / "guarded").touch()  # the dead man's switch stops here
    log("guard started")


def missing_packages(python: str, project: Path) -> list[str]:
    """Requirements of pyproject.toml that this Python does not meet."""
    code = (
        "import sys, tomllib, importlib.metadata as m\n"
        "try: from packaging.requirements import Requirement\n"
        "except ImportError: from pip._vendor.packaging.requirements import Requirement\n"
        "for line in tomllib.load(open(sys.argv[1], 'rb'))['project']['dependencies']:\n"
        "    need = Requirement(line)\n"
        "    try: ok = need.specifier.contains(m.version(need.name), prereleases=True)\n"
        "    except m.PackageNotFoundError: ok = False\n"
        "    if not ok: print(line)\n"
    )
    command = [python, "-c", code, str(project / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{python} cannot read pyproject.toml (Python 3.11 or later is needed): {done.stderr[-500:]}"
        )
    return done.stdout.split("\n")[:-1]


def ready_python(project: Path) -> str:
    """A Python with every package: the image's own, or a virtual environment over it with what is missing."""
    venv_python = BASE / "venv" / "bin" / "python"
    system = shutil.which("python") or shutil.which("python3") or sys.executable
    python = str(venv_python) if venv_python.exists() else system
    missing = missing_packages(python, project)
    if not missing:
        return python
    log(f"installing {len(missing)} packages: {', '.join(missing)}"[:300])
    started = time.monotonic()
    install = ["-m", "pip", "install", "-q"]
    if not venv_python.exists():
        # Over the image's own packages, so that its torch is not fetched again.
        venv = [python, "-m", "venv", "--system-site-packages", str(BASE / "venv")]
        if subprocess.run(venv, capture_output=True).returncode == 0:
            python = str(venv_python)
        else:  # Debian's Python without its venv package; the container is thrown away after
            shutil.rmtree(BASE / "venv", ignore_errors=True)
            install.append("--break-system-packages")
    done = subprocess.run([python, *install, *missing], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"packages could not be installed: {done.stderr[-1500:]}")
    log(f"packages installed in {time.monotonic() - started:.0f} s")
    return python


def warm_up(python: str) -> None:
    """Read and compile, beside Ray's start, what the search imports: a fresh disk is slow at that."""
    subprocess.Popen(
        ["nice", "-n", "19", python, "-c", WARMED],
        env=os.environ | {"PYTHONPATH": str(BASE / "code")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


SEEN_BY_TORCH = """
import json, os, shutil, subprocess, torch, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
why = "; ".join(str(warning.message) for warning in caught)
if not count and not why:
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    driver = shutil.which("nvidia-smi") or shutil.which("rocm-smi")
    why = "this torch was built without CUDA" if not built else "" if driver else "no driver in the container"
print(json.dumps({"torch": torch.__version__, "torch_gpus": count, "why": why[:300]}))
"""


def seen_by_torch(python: str, expected: int) -> dict[str, Any]:
    """How many GPUs torch sees, and why fewer than rented where it can be known."""
    done = subprocess.run([python, "-c", SEEN_BY_TORCH], capture_output=True, text=True)
    if done.returncode:
        return {"gpus_expected": expected, "torch_gpus": 0, "why": done.stderr.strip()[-300:]}
    return {"gpus_expected": expected, **json.loads(done.stdout.strip().split("\n")[-1])}


def wait_for_head(host: str) -> None:
    """Until the head's Ray listens; `ray start` itself would give up sooner than packages are installed."""
    until = time.monotonic() + HEAD_SECONDS
    while True:
        try:
            socket.create_connection((host, HEAD_PORT), timeout=5).close()
            return
        except OSError as problem:
            if time.monotonic() > until:
                raise SystemExit(
                    f"the head's Ray was not there after {HEAD_SECONDS:.0f} s: {problem}"
                ) from None
        time.sleep(0.2)


def usable_cores(settings: dict[str, Any], python: str) -> int:
    """Cores for Ray's trials and, in ``cores``, for the job: by the cgroup, where the settings name none."""
    command = [python, "-c", "from recsys.machine import usable_cores; print(usable_cores())"]
    counted = subprocess.run(command, cwd=BASE / "code", capture_output=True, check=True, text=True)
    cores = settings.get("cpus") or int(counted.stdout)
    (BASE / "cores").write_text(str(cores))
    return int(cores)


def start_ray(settings: dict[str, Any], python: str) -> None:
    """`ray start` as head or worker; with one pod on the loopback only, else on the private address."""
    ray = Path(python).parent / "ray"
    token = BASE / "ray_token"
    private(token, settings["token"])
    environment = (
        os.environ
        | PATIENCE
        | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "PATH": f"{Path(python).parent}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(BASE / "code"),
        }
    )
    command = [str(ray), "start", "--disable-usage-stats", f"--node-ip-address={settings['ip']}"]
    if settings["role"] == "head":
        command += ["--head", f"--port={HEAD_PORT}", "--include-dashboard=true", "--dashboard-host=127.0.0.1"]
        command += ["--dashboard-port=8265"]
    else:
        wait_for_head(settings["head_ip"])
        command += [f"--address={settings['head_ip']}:{HEAD_PORT}"]
    command += [f"--num-cpus={usable_cores(settings, python)}"]
    if settings.get("object_store_bytes"):
        command += [f"--object-store-memory={settings['object_store_bytes']}"]
    for attempt in range(RAY_STARTS):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return
        # `ray start` gives its own processes 30 s, which a machine busy with its first minute may not keep.
        log(f"ray did not start at try {attempt + 1} of {RAY_STARTS}")
        subprocess.run([str(ray), "stop", "--force"], env=environment, capture_output=True)
    raise SystemExit(f"ray did not start: {(done.stdout + done.stderr)[-2000:]}")


def ensure_rsync() -> None:
    """Fetching needs rsync on both sides; most images have it."""
    if shutil.which("rsync"):
        return
    log("installing rsync")
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "rsync"]):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f"rsync is missing and could not be installed: {done.stderr[-500:]}")


def link_runs_to_volume(volume: str) -> None:
    """Put the run folders on the network volume, where one is mounted: all nodes see the same files."""
    if not volume:
        return
    Path(volume).mkdir(parents=True, exist_ok=True)
    (Path(volume) / ".shared").touch()  # clusters/trial_sync.py then copies nothing
    link = BASE / "code" / "runs"
    if not link.is_symlink():
        link.symlink_to(volume)


def write_heartbeats() -> None:
    """Installing may take longer than the guard's patience, and this runs only while somebody is there."""
    while True:
        (BASE / "heartbeat").touch()
        time.sleep(1)


def main() -> None:
    os.umask(0o077)
    settings = json.load(sys.stdin)
    BASE.mkdir(exist_ok=True, mode=0o700)
    start_guard(settings)
    threading.Thread(target=write_heartbeats, daemon=True).start()
    link_runs_to_volume(settings["runs_at"])
    ensure_rsync()
    python = ready_python(BASE / "code")
    private(BASE / "secrets.json", json.dumps(settings.get("secrets", {})))
    (BASE / "python").write_text(python)
    if settings.get("gpus"):  # before Ray starts: a pod without its GPU is given back at once
        facts = seen_by_torch(python, settings["gpus"])
        log(f"FACTS {json.dumps(facts)}")
        if facts["torch_gpus"] < settings["gpus"]:
            log("READY")
            return
    marker = BASE / "ray_started"
    if not marker.exists():
        warm_up(python)
        start_ray(settings, python)
        marker.touch()
        log(f"ray started ({settings['role']})")
    log("READY")


if __name__ == "__main__":
    main()
