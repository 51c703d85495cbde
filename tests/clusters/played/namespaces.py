"""Pods that are real: each a network, mount, PID and host-name namespace with its own address, sshd and home.

All pods hang on one bridge; the API listens on the bridge's address, so that nothing here uses an address
that was not made here. A pod shares with this machine what an image would hold (the system and the Python
packages) and nothing else: home, /tmp, /run, /dev/shm and the folder around this checkout are its own and
empty. `close` takes away every process, namespace, interface and folder that was made, also after a failure.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clusters.played.cloud import PlayedPod

ROOT = Path(__file__).resolve().parents[3]

INIT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /mnt
{keep}
{hide}
{restore}
mount -t tmpfs -o mode=1777,size=1g tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
{volume}
umount -l /mnt
hostname {hostname}
ip link set lo up
mkdir -p /run/sshd /run/played "$HOME/.ssh"
chmod 700 "$HOME/.ssh"
echo "$PUBLIC_KEY" > "$HOME/.ssh/authorized_keys"
ssh-keygen -q -t ed25519 -N '' -f /run/played/host_key
cat > /run/played/sshd_config <<CONFIG
ListenAddress {address}:{port}
HostKey /run/played/host_key
PidFile none
AuthorizedKeysFile $HOME/.ssh/authorized_keys
PasswordAuthentication no
PermitRootLogin prohibit-password
UsePAM no
MaxStartups 100
SetEnv PATH={path} {environment}
CONFIG
cat > /run/played/start.sh <<'START'
/usr/sbin/sshd -D -f /run/played/sshd_config &
while :; do wait -n || sleep 1; done
START
chmod 755 /run/played/start.sh
exec {start}
"""


NETWORKS = itertools.count(os.getpid() * 250)


def claim_network() -> tuple[str, str]:
    """A new bridge, and the first three bytes of its network's addresses, 10.50.1 to 10.199.250.

    The bridge is called after its network, and the kernel gives a name once: no two processes get the same.
    It takes interfaces of a dead namespace away in its own time, so that no process uses a name twice.
    """
    for number in itertools.islice(NETWORKS, 150 * 250):
        second, third = number // 250 % 150 + 50, number % 250 + 1
        tag = f"b{second}p{third}"
        done = subprocess.run(["ip", "link", "add", tag, "type", "bridge"], capture_output=True, text=True)
        if done.returncode == 0:
            return tag, f"10.{second}.{third}"
        if "File exists" not in done.stderr:
            raise RuntimeError(f"ip link add {tag}: {done.stderr.strip()}")
    raise RuntimeError("every network of the play is taken")


class Namespaces:
    """Machines for `Cloud`; needs root. `bridge_ip` is where the API should listen.

    `one_core_each` pins a pod to one core, in turn; `environment` is that of every command in a pod.
    """

    def __init__(self, *, volumes: dict[str, Path] | None = None, one_core_each: bool = False) -> None:
        self.tag, self.net = claim_network()
        self.bridge_ip = f"{self.net}.1"
        self.api_url = ""
        self.volumes = volumes or {}
        self.one_core_each = one_core_each
        self.environment: dict[str, str] = {}
        self.numbers = itertools.count(2)
        self.inits: dict[str, subprocess.Popen[bytes]] = {}
        self.spaces: dict[str, str] = {}
        self.logs = Path(tempfile.mkdtemp(prefix="played-"))
        try:
            run("ip", "addr", "add", f"{self.bridge_ip}/24", "dev", self.tag)
            run("ip", "link", "set", self.tag, "up")
        except BaseException:
            self.close()
            raise

    def boot(self, pod: PlayedPod) -> None:
        number = next(self.numbers)
        space, inside, outside = f"{self.tag}-{number}", f"{self.tag}i{number}", f"{self.tag}o{number}"
        address, port = f"{self.net}.{number}", 20000 + number
        self.spaces[pod.id] = space
        run("ip", "netns", "add", space)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", space)
        run("ip", "link", "set", outside, "master", self.tag, "up")
        run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", inside)
        run("ip", "-n", space, "link", "set", inside, "up")
        script = self._script(pod, space, address, port)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(Path.home()),
            "RUNPOD_POD_ID": pod.id,
            "RUNPOD_API_KEY": pod.key,
            **pod.request.env,
        }
        log = (self.logs / f"{pod.id}.log").open("wb")
        # --kill-child: when the first process dies, every process of the pod does.
        command = [
            "ip",
            "netns",
            "exec",
            space,
            "unshare",
            "--mount",
            "--pid",
            "--uts",
            "--fork",
            "--kill-child",
        ]
        command += ["--mount-proc", "bash", "-c", script]
        if self.one_core_each:
            cores = sorted(os.sched_getaffinity(0))
            command = ["taskset", "-c", str(cores[number % len(cores)]), *command]
        self.inits[pod.id] = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        pod.host, pod.port, pod.private_ip = address, port, address

    def _script(self, pod: PlayedPod, hostname: str, address: str, port: int) -> str:
        # Parents before what lies in them; the virtual environment may lie in any of these.
        project = ROOT.parent if ROOT.parent != Path("/") else ROOT
        shared = {Path("/tmp"), Path("/var/tmp")}
        hidden = sorted({Path.home(), project} | shared)
        image = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
        kept = [path for path in sorted(image) if any(path.is_relative_to(index) for index in hidden)]
        keep = [
            f"mkdir /mnt/{n} && mount --bind {shlex.quote(str(path))} /mnt/{n}" for n, path in enumerate(kept)
        ]
        hide = [
            f"mkdir -p {shlex.quote(str(index))} && "
            f"mount -t tmpfs -o mode={1777 if index in shared else 700} tmpfs {shlex.quote(str(index))}"
            for index in hidden
        ]
        restore = [
            f"mkdir -p {shlex.quote(str(path))} && mount --bind /mnt/{n} {shlex.quote(str(path))}"
            for n, path in enumerate(kept)
        ]
        volume = ""
        mounts = pod.request.mounts
        if mounts and mounts.network:
            mount = mounts.network[0]
            source = self.volumes[mount.volumeId]
            # Not under the hidden folders: a volume is reached through the path it had before.
            keep.insert(0, f"mkdir /mnt/volume && mount --bind {shlex.quote(str(source))} /mnt/volume")
            volume = f"mkdir -p {mount.path} && mount --bind /mnt/volume {mount.path}"
        start = pod.request.args or "/start.sh"
        return INIT.format(
            keep="\n".join(keep),
            hide="\n".join(hide),
            restore="\n".join(restore),
            volume=volume,
            hostname=hostname,
            address=address,
            port=port,
            path=f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            environment=" ".join(quoted(f"{name}={value}") for name, value in self.environment.items()),
            start=start.replace("exec /start.sh", "exec bash /run/played/start.sh"),
        )

    def stop(self, pod: PlayedPod) -> None:
        """Power off: every process of the pod at once, then its network."""
        init = self.inits.pop(pod.id, None)
        if init:
            os.killpg(init.pid, signal.SIGKILL)
            init.wait()
        space = self.spaces.pop(pod.id, None)
        if space:
            subprocess.run(["ip", "link", "del", space.replace("-", "o")], capture_output=True)
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def log(self, pod: PlayedPod) -> str:
        return (self.logs / f"{pod.id}.log").read_text(errors="replace")

    def close(self) -> None:
        """Everything that was made is gone after."""
        for init in self.inits.values():
            os.killpg(init.pid, signal.SIGKILL)
            init.wait()
        self.inits.clear()
        for space in self.spaces.values():
            subprocess.run(["ip", "link", "del", space.replace("-", "o")], capture_output=True)
            subprocess.run(["ip", "netns", "del", space], capture_output=True)
        self.spaces.clear()
        subprocess.run(["ip", "link", "del", self.tag], capture_output=True)
        shutil.rmtree(self.logs, ignore_errors=True)


def quoted(text: str) -> str:
    """A word of sshd's configuration."""
    return '"' + text.replace('"', '\\"') + '"'


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
