"""Files of a release: written once, described, hashed in parallel, mapped back.

sha256 lets go of the interpreter lock, so hashing runs at (cores x 1-2 GB/s); one large file is not
split, so a release is as quick to check as its largest file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.machine import usable_cores
from recsys.release.manifest import FileCard
from recsys.types import Arrays

MANIFEST = "manifest.json"
_IN_MEMORY: ContextVar[bool] = ContextVar("in_memory", default=False)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Args:
        path: Of the file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_all(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of several files, in one thread per core.

    Args:
        paths: Of the files.
    """
    ordered = sorted(paths, key=lambda path: -path.stat().st_size)
    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        return dict(zip(ordered, pool.map(sha256_of, ordered), strict=True))


def describe(folder: Path) -> dict[str, FileCard]:
    """A card for every file of a folder.

    Args:
        folder: Of the release.

    Returns:
        By path relative to ``folder``, with forward slashes.
    """
    paths = [path for path in folder.rglob("*") if path.is_file()]
    hashes = hash_all(paths)
    cards = {}
    for path in sorted(paths):
        dtype, shape = _array_header(path) if path.suffix == ".npy" else (None, None)
        cards[path.relative_to(folder).as_posix()] = FileCard(
            sha256=hashes[path], bytes=path.stat().st_size, dtype=dtype, shape=shape
        )
    return cards


def check(folder: Path, cards: dict[str, FileCard], *, hashes: bool = True) -> None:
    """Checks that a release folder holds what its manifest names, and nothing else.

    Args:
        folder: The release.
        cards: The manifest's files.
        hashes: Whether to hash every file, not only to compare lengths.

    Raises:
        InputError: At the first name that leads outside, link, device, extra or missing file, and file of
            another length or hash.
    """
    for name in cards:
        parts = PurePosixPath(name).parts
        plain = name == "/".join(parts) and name.isprintable() and "\\" not in name
        if not parts or not plain or parts[0] == "/" or {".", ".."} & set(parts):
            raise InputError(f"{folder}: the manifest names {name!r}, expected a path inside the release")
    _require_only(folder, {MANIFEST, *cards})
    paths = {}
    for name, card in cards.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path} is missing from the release: copy the release again, whole")
        if path.stat().st_size != card.bytes:
            raise InputError(
                f"{path} has {path.stat().st_size} bytes, the manifest says {card.bytes}: the release was "
                "changed or cut off after it was made; copy it again or make a new one"
            )
        paths[path] = card.sha256
    if hashes:
        for path, digest in hash_all(paths).items():
            if digest != paths[path]:
                raise InputError(
                    f"{path} has sha256 {digest[:12]}.., the manifest says {paths[path][:12]}..: the release "
                    "was changed after it was made; copy it again or make a new one"
                )


def _require_only(folder: Path, names: set[str]) -> None:
    """InputError at a link, a device or a file that is not among ``names``, anywhere under ``folder``."""
    for parent, folders, file_names in os.walk(folder):
        for name in [*folders, *file_names]:
            path = Path(parent, name)
            if path.is_symlink():
                raise InputError(f"{path} is a symbolic link, expected plain files: copy the release whole")
            if name in folders:
                continue
            if not path.is_file():
                raise InputError(f"{path} is not a plain file: copy the release again, whole")
            if path.relative_to(folder).as_posix() not in names:
                raise InputError(
                    f"{path} is not in the release's manifest: remove it, or copy the release again"
                )


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes a .npy file without pickle.

    Args:
        path: Of the file; its folder is made.
        array: Its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


@contextmanager
def reading(*, in_memory: bool) -> Iterator[None]:
    """Sets whether ``map_array`` reads whole arrays, until the block ends.

    Args:
        in_memory: False: arrays are memory-mapped.
    """
    token = _IN_MEMORY.set(in_memory)
    try:
        yield
    finally:
        _IN_MEMORY.reset(token)


def copies(arrays: Arrays) -> Arrays:
    """Read-only copies in memory.

    Args:
        arrays: By name.
    """
    copied = {name: np.array(array) for name, array in arrays.items()}
    for array in copied.values():
        array.setflags(write=False)
    return copied


def map_array(path: Path) -> NDArray[Any]:
    """Opens a .npy file, memory-mapped unless ``reading`` says otherwise.

    Args:
        path: Of the file.

    Returns:
        A read-only plain ndarray: np.memmap's own indexing is several times slower.
    """
    if _IN_MEMORY.get() or path.stat().st_size <= _EMPTY_BYTES:  # an empty array cannot be mapped
        loaded: NDArray[Any] = np.load(path, allow_pickle=False)
        loaded.setflags(write=False)
        return loaded
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    plain: NDArray[Any] = mapped.view(np.ndarray)
    return plain


_EMPTY_BYTES = 128


def _array_header(path: Path) -> tuple[str, list[int]]:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    return str(dtype), list(shape)
