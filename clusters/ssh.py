"""The system's ssh and rsync, with a key made for one cluster and a host key pinned at first sight.

Nothing of the person's own SSH configuration, agent or keys is used. One master connection a node is shared
by every command (ControlMaster), so a command costs milliseconds; children run in their own session, so that
a Ctrl-C at the terminal reaches only us. Secrets go through stdin, never through an argument.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusters.cluster_errors import ClusterError, ClusterFailed, SshFailed
from clusters.state import Node, folder


def make_key(cluster: str) -> None:
    """A new ed25519 key pair in the cluster's folder, unless it is there.

    Raises:
        ClusterError: ssh-keygen is not installed.
    """
    path = folder(cluster) / "key"
    if path.exists():
        return
    command = [
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        f"breakthrough-{cluster}",
        "-f",
        str(path),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        raise ClusterError("ssh-keygen is not installed; install openssh-client and rsync") from None


class Ssh:
    """Commands, files and tunnels on one node."""

    def __init__(self, cluster: str, node: Node, *, connect_seconds: int = 10) -> None:
        if not node.host:
            raise ClusterFailed(f"{node.name} has no SSH address yet")
        self.node = node
        self.target = f"root@{node.host}"
        home = folder(cluster)
        # A socket's path may have 107 bytes at most, and a home folder may be long.
        short = hashlib.sha256(f"{home}{node.id}".encode()).hexdigest()[:16]
        sockets = Path(tempfile.gettempdir()) / f"breakthrough-{os.getuid()}"
        sockets.mkdir(mode=0o700, exist_ok=True)
        if sockets.stat().st_uid != os.getuid() or sockets.stat().st_mode & 0o077:
            raise ClusterFailed(f"{sockets} belongs to somebody else; remove it")
        options = {
            "IdentityFile": str(home / "key"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(home / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "accept-new",
            "HostKeyAlias": node.id,
            "BatchMode": "yes",
            "ConnectTimeout": str(connect_seconds),
            "ServerAliveInterval": "10",
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": str(sockets / short),
            "ControlPersist": "120",
            "LogLevel": "ERROR",
        }
        self.options = ["-F", "/dev/null", "-p", str(node.port)]
        for key, value in options.items():
            self.options += ["-o", f"{key}={value}"]

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 60) -> str:
        """Run one shell command there; its stdout.

        Raises:
            SshFailed: status other than 0, or no answer in time. Status 255: it may never have run.
        """
        return self.run_bytes(command, stdin=stdin, timeout=timeout).decode(errors="replace")

    def run_bytes(self, command: str, *, stdin: bytes = b"", timeout: float = 60) -> bytes:
        try:
            done = subprocess.run(
                ["ssh", *self.options, self.target, command],
                input=stdin,
                capture_output=True,
                timeout=timeout,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            self.close()
            raise SshFailed(f"{self.node.name} did not answer within {timeout:g} s") from None
        if done.returncode:
            message = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
            raise SshFailed(
                f"{self.node.name}: {message or 'no word'}", status=done.returncode, output=message
            )
        return done.stdout

    def shell(self, *, forwards: list[str]) -> int:
        """An interactive shell with these -L forwards."""
        lines = [part for forward in forwards for part in ("-L", forward)]
        return subprocess.run(["ssh", "-t", *self.options, *lines, self.target]).returncode

    def pull(
        self,
        remote: str,
        local: Path,
        *,
        timeout: float = 600,
        by_content: bool = False,
        only: tuple[str, ...] = (),
        less: tuple[str, ...] = (),
        delete_except: tuple[str, ...] | None = None,
    ) -> None:
        """Mirror a remote folder into a local one by rsync, which verifies what it sends.

        Args:
            remote: folder on the node.
            local: folder here, made when missing.
            timeout: seconds; what has come by then is kept, and the next call goes on from it.
            by_content: compare every file's checksum instead of its size and time.
            only: rsync patterns that are not left out, whatever ``less`` says.
            less: rsync patterns left out (and left alone here).
            delete_except: delete files that are gone there, except these patterns; None: no files.
        """
        local.mkdir(parents=True, exist_ok=True)
        how = ["--checksum"] if by_content else []
        how += [f"--include={pattern}" for pattern in only] + [f"--exclude={pattern}" for pattern in less]
        if delete_except is not None:
            how += [*(f"--filter=protect {pattern}" for pattern in delete_except), "--delete-delay"]
        self._rsync([*how, f"{self.target}:{remote}/", f"{local}/"], timeout=timeout)

    def push(self, local: Path, remote: str, *, less: tuple[str, ...] = (), timeout: float = 600) -> None:
        """Make a remote folder hold what a local one does, less these patterns of rsync's."""
        self.run(f"mkdir -p {shlex.quote(remote)}")
        excludes = [f"--exclude={pattern}" for pattern in less]
        self._rsync([*excludes, f"{local}/", f"{self.target}:{remote}/"], timeout=timeout)

    def _rsync(self, ends: list[str], *, timeout: float) -> None:
        shell = shlex.join(["ssh", *self.options])
        command = [
            "rsync",
            "-a",
            "--modify-window=-1",  # times to the nanosecond: checkpoints of one size follow within a second
            "-z",
            "--no-owner",
            "--no-group",
            "--partial-dir=.rsync-partial",  # what a broken transfer had brought; the next goes on from it
            "--timeout=60",
            "-e",
            shell,
            *ends,
        ]
        try:
            done = run_gently(command, timeout=timeout)
        except FileNotFoundError:
            raise ClusterFailed(
                "rsync is not installed on this machine; install it and fetch again"
            ) from None
        except subprocess.TimeoutExpired:
            raise SshFailed(f"{self.node.name}: rsync took longer than {timeout:g} s") from None
        # 24: a file vanished while it was listed, which a running search does all the time.
        if done.returncode not in (0, 24):
            message = done.stderr.decode(errors="replace").strip()[-1000:]
            raise SshFailed(f"{self.node.name}: rsync: {message}", status=done.returncode)

    @contextmanager
    def tunnel(self, port: int, *, timeout: float = 20) -> Iterator[str]:
        """A port of the node's loopback here, as http://127.0.0.1:PORT, for as long as the block runs."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            local = free.getsockname()[1]
        forward = f"127.0.0.1:{local}:127.0.0.1:{port}"
        options = [*self.options, "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none"]
        child = subprocess.Popen(
            ["ssh", *options, "-N", "-L", forward, self.target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + timeout
            while True:
                try:
                    socket.create_connection(("127.0.0.1", local), timeout=1).close()
                    break
                except OSError:
                    if child.poll() is not None or time.monotonic() > until:
                        raise SshFailed(f"{self.node.name}: no tunnel to its port {port}") from None
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{local}"
        finally:
            child.terminate()
            child.wait()
            if child.stderr:
                child.stderr.close()

    def close(self) -> None:
        """End the shared connection; the next command makes a new one."""
        command = ["ssh", *self.options, "-O", "exit", self.target]
        subprocess.run(command, capture_output=True, start_new_session=True)


def run_gently(command: list[str], *, timeout: float) -> subprocess.CompletedProcess[bytes]:
    """`subprocess.run`, but ended by SIGTERM at the time limit: rsync then keeps what it has of a file.

    Raises:
        TimeoutExpired: the command took longer than `timeout` seconds.
    """
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = child.communicate(timeout=timeout)
    except BaseException:
        child.terminate()
        try:
            child.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        raise
    return subprocess.CompletedProcess(command, child.returncode, out, err)
