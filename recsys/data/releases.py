"""MovieLens's official releases, by name, and where a verified copy of one comes from.

GroupLens first, checked against the md5 that GroupLens publishes beside each archive. For ml-100k there
is a second way, through the package index (``wheel``), for machines that can install packages but not
reach GroupLens.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recsys.data.cache import cache_folder
from recsys.data.download import Unreachable, download_release
from recsys.data.package_download import fetch_ml_100k
from recsys.data.readers.text import Progress
from recsys.errors import InputError

BASE_URL = "https://files.grouplens.org/datasets/movielens/"


@dataclass(frozen=True)
class ReleaseSize:
    """Counts in a release, and the megabytes of its archive."""

    ratings: int
    users: int
    items: int
    megabytes: int


RELEASES = {
    "ml-100k": ReleaseSize(100_000, 943, 1_682, 5),
    "ml-1m": ReleaseSize(1_000_209, 6_040, 3_706, 6),
    "ml-10m": ReleaseSize(10_000_054, 69_878, 10_677, 66),
    "ml-20m": ReleaseSize(20_000_263, 138_493, 26_744, 199),
    "ml-25m": ReleaseSize(25_000_095, 162_541, 59_047, 262),
    "ml-32m": ReleaseSize(32_000_204, 200_948, 84_432, 239),
    "ml-latest-small": ReleaseSize(100_836, 610, 9_724, 1),
}


def release_folder(
    name: str,
    *,
    cache: Path | None = None,
    base_url: str = BASE_URL,
    progress: Progress | None = None,
    second_way: Callable[[Path], str] = fetch_ml_100k,
) -> Path:
    """The folder of the release's files, fetched where it is not in the cache yet.

    It holds ``origin.txt``, one line that says where it came from and how it was checked. ``InputError``
    for an unknown name, a wrong checksum, or where it cannot be had.
    """
    if name not in RELEASES:
        raise unknown_name(name)
    folder = cache_folder(cache) / "releases" / name
    if (folder / "origin.txt").is_file():
        return folder
    try:
        download_release(name, folder, base_url=base_url, progress=progress)
    except Unreachable as reason:
        if name != "ml-100k":
            raise InputError(
                f"{name}: {reason}; fetch {base_url}{name}.zip ({RELEASES[name].megabytes} MB) where there "
                "is a way, unzip it here and give its folder as --data"
            ) from None
        if progress:
            progress("GroupLens is out of reach: taking ml-100k from the wheel recbole 1.2.1", 0.0)
        try:
            second_way(folder)
        except Unreachable as second:
            raise InputError(
                f"ml-100k: {reason}, and {second}; unzip ml-100k.zip here and give its folder as --data"
            ) from None
    return folder


def unknown_name(name: str) -> InputError:
    near = difflib.get_close_matches(name.lower(), RELEASES, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return InputError(
        f"{name}: no such file or folder, nor a release's name; the releases are {', '.join(RELEASES)}{hint}"
    )
