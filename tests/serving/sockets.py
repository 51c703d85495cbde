"""Who listens where, read from /proc: what `ss -ltnp` shows, for one tree of processes."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path


def tree(root: int) -> set[int]:
    """``root`` and everything it started."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    result, ahead = {root}, [root]
    while ahead:
        more = children.get(ahead.pop(), [])
        result.update(more)
        ahead += more
    return result


def listening(processes: set[int]) -> dict[tuple[str, int], set[int]]:
    """(address, port) -> the processes that listen there."""
    sockets: dict[str, tuple[str, int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, port = fields[1].split(":")
                sockets[fields[9]] = (_address(address), int(port, 16))
    result: dict[tuple[str, int], set[int]] = {}
    for process in processes:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    name = os.readlink(file)
                    index = sockets.get(name.removeprefix("socket:[").removesuffix("]"))
                    if index is not None:
                        result.setdefault(index, set()).add(process)
    return result


def _address(text: str) -> str:
    words = [bytes.fromhex(text[n : n + 8])[::-1] for n in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
