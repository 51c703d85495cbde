"""A PostgreSQL server of our own for a test: in a folder, on a free loopback port, stopped at the end."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.waiting import free_port


class Postgres:
    """``url`` reaches it; ``stop`` and ``start`` take it away and bring it back."""

    def __init__(self, folder: Path) -> None:
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._folder = folder / "data"
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        self._as = "postgres" if os.geteuid() == 0 else None
        if self._as:
            folder.chmod(0o755)
            owner = pwd.getpwnam(self._as)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        self._call("initdb", "--auth=trust", "--username=recsys", "-D", str(self._folder))
        self.start()
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "recsys", "events")
        self.url = f"postgresql://recsys@127.0.0.1:{self.port}/events"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        self._control("start", "-o", options, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def run(self, program: str, *words: str) -> None:
        """One of PostgreSQL's own programs, with the rights of this process."""
        subprocess.run([str(self._programs / program), *words], check=True, capture_output=True, timeout=60)

    def _control(self, *words: str) -> None:
        self._call("pg_ctl", "-D", str(self._folder), "-w", *words)

    def _call(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words],
            user=self._as,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr}")


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="recsys-pg-"))
    server = None
    try:
        server = Postgres(folder)
        yield server
    finally:
        if server is not None:
            with contextlib.suppress(RuntimeError):
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)
