"""Trial files between nodes that share no disk: workers put them on the head, and take them from it, through
Ray.

A search's driver on the head reads what its workers write into the run folder. Where there is one node, or a
shared volume, that is one and the same folder and nothing happens here. With several pods and no shared disk,
a worker calls `to_head` after each checkpoint and before it reports a trial's end, and `from_head` before it
starts one: the folder then lies on the head under the same path, and a trial whose node died goes on
elsewhere. The bytes travel over Ray's own connections on the private network, under its token.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from clusters.cluster_errors import ClusterFailed

KEEPER = "breakthrough-files"
SHARED = ".shared"  # a file that bootstrap/node.py leaves beside runs on a shared volume
HEAD_MARK = "node:__internal_head__"  # a resource that only Ray's head has


class FileKeeper:
    """Runs on the head: whole folders in and out. Files are replaced at once, so that no reader sees half of
    one.
    """

    def write(self, folder: str, files: dict[str, bytes], *, replace: bool) -> int:
        target_folder = Path(folder)
        target_folder.mkdir(parents=True, exist_ok=True)
        if replace:
            for path in [path for path in target_folder.rglob("*") if path.is_file()]:
                if str(path.relative_to(target_folder)) not in files:
                    path.unlink()
        # The result comes last: who sees it may rely on everything else.
        for name in sorted(files, key=lambda name: (name.endswith("result.json"), name)):
            target = target_folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}.part")
            beside.write_bytes(files[name])
            os.replace(beside, target)
        return len(files)

    def get(self, folder: str) -> dict[str, bytes]:
        return read_folder(Path(folder))


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its relative name; empty where there is none."""
    if not folder.is_dir():
        return {}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def is_local(folder: Path) -> bool:
    """Whether the head sees this very folder: this node is the head, or the runs lie on a shared volume."""
    if any((parent / SHARED).exists() for parent in folder.parents):
        return True
    return bool(ray.get_runtime_context().get_node_id() == _head_id())


def _head_id() -> str:
    for node in ray.nodes():
        if node["Alive"] and HEAD_MARK in node["Resources"]:
            return str(node["NodeID"])
    raise ClusterFailed("Ray has no head node")


def _keeper() -> Any:
    where = NodeAffinitySchedulingStrategy(node_id=_head_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=-1)(FileKeeper)
    return actor.options(
        name=KEEPER, namespace=KEEPER, get_if_exists=True, lifetime="detached", scheduling_strategy=where
    ).remote()


def push(folder: Path) -> int:
    """Make the head's folder of the same path equal to this one; files sent. Nothing on the head itself."""
    if is_local(folder):
        return 0
    return int(ray.get(_keeper().write.remote(str(folder), read_folder(folder), replace=True)))


def pull(folder: Path) -> int:
    """Make this folder equal to the head's of the same path; files received. Nothing on the head itself."""
    if is_local(folder):
        return 0
    files = ray.get(_keeper().get.remote(str(folder)))
    if folder.exists():
        shutil.rmtree(folder)
    return FileKeeper().write(str(folder), files, replace=False) if files else 0
