"""An official release from GroupLens: md5 first, then the archive, then only the files that are read.

The archive streams to disk and through md5 at once. Members are written under their bare names, so that
no path inside an archive leads anywhere.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

import requests

from recsys.data.cache import atomic_folder
from recsys.data.readers.layouts import ITEM_FILES, LAYOUTS, PEOPLE_FILES
from recsys.data.readers.text import Progress
from recsys.errors import InputError

Answer = TypeVar("Answer")
FIRST_ANSWER_SECONDS = 8.0  # name lookup, connection and a 50-byte file; offline is known this soon
TIMEOUTS = (4.0, 30.0)  # seconds to connect, and between two pieces
DEADLINE_SECONDS = 3600.0
UNPACKED_LIMIT = 4 << 30  # bytes; the largest release unpacks to 1.1 GB
WANTED = {*(layout.ratings for layout in LAYOUTS), *ITEM_FILES, *PEOPLE_FILES}


class Unreachable(Exception):
    """The place cannot be reached now, or does not have the file; nothing is known to be wrong with it."""


def download_release(name: str, folder: Path, *, base_url: str, progress: Progress | None = None) -> None:
    """Fetch, check and unpack ``name`` into ``folder``, which is there whole or not at all."""
    url = f"{base_url}{name}.zip"
    published = published_md5(f"{url}.md5")
    with atomic_folder(folder) as work:
        archive = work / "archive.zip"
        match = stream(url, archive, progress=progress)
        if match != published:
            raise InputError(
                f"{url}: wrong checksum: md5 is {match}, GroupLens publishes {published}; the download was "
                "changed or damaged on its way; nothing of it is kept, try again"
            )
        unpack(archive, work, name=url)
        archive.unlink()
        (work / "origin.txt").write_text(f"{url} (md5 {published}, as published)\n")


def published_md5(url: str) -> str:
    """The md5 in GroupLens's file beside the archive, whichever of two tools wrote it."""
    answer = in_time(lambda: requests.get(url, timeout=TIMEOUTS), seconds=FIRST_ANSWER_SECONDS, url=url)
    if answer.status_code != 200:
        raise Unreachable(f"{url} answers {answer.status_code}")
    match = re.search(r"\b[0-9a-fA-F]{32}\b", answer.text)
    if match is None:
        raise Unreachable(f"{url} holds no md5 but {answer.text[:60]!r}")
    return match[0].lower()


def in_time(call: Callable[[], Answer], *, seconds: float, url: str) -> Answer:
    """The answer of ``call`` or ``Unreachable``; a thread, since a name lookup has no timeout."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        raise Unreachable(f"{url} did not answer in {seconds:.0f} s") from None
    except requests.RequestException as error:
        raise Unreachable(f"cannot reach {url} ({type(error).__name__})") from None


def stream(url: str, path: Path, *, progress: Progress | None) -> str:
    """Download to ``path``; its md5. ``Unreachable`` where it stops or takes longer than the deadline."""
    digest = hashlib.md5(usedforsecurity=False)
    ends = time.monotonic() + DEADLINE_SECONDS
    done = 0
    try:
        with requests.get(url, stream=True, timeout=TIMEOUTS) as answer, path.open("wb") as file:
            if answer.status_code != 200:
                raise Unreachable(f"{url} answers {answer.status_code}")
            size = int(answer.headers.get("Content-Length", 0))
            for piece in answer.iter_content(1 << 20):
                file.write(piece)
                digest.update(piece)
                done += len(piece)
                if progress:
                    progress(f"downloading {url}", done / size if size else 0.0)
                if time.monotonic() > ends:
                    raise Unreachable(f"{url} took longer than {DEADLINE_SECONDS:.0f} s")
    except requests.RequestException as error:
        raise Unreachable(f"{url} broke off after {done / 1e6:.1f} MB ({type(error).__name__})") from None
    if size and done != size:
        raise Unreachable(f"{url} ended after {done:,} of {size:,} bytes")
    return digest.hexdigest()


def unpack(archive: Path, folder: Path, *, name: str) -> None:
    """Write the members that are read, by their bare names."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if Path(member.filename).name in WANTED]
            if sum(member.file_size for member in members) > UNPACKED_LIMIT:
                raise InputError(f"{name}: unpacks to more than {UNPACKED_LIMIT >> 30} GB; not unpacked")
            for member in members:
                with opened.open(member) as packed, (folder / Path(member.filename).name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except zipfile.BadZipFile as error:
        raise InputError(f"{name}: not a whole zip archive ({error})") from None
    if not any((folder / layout.ratings).is_file() for layout in LAYOUTS):
        raise InputError(f"{name}: no ratings file in the archive")
