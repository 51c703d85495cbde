"""A table's bytes as UTF-8 text with line feeds, whatever file holds them.

Gzip and zip archives of one table are unpacked on the way, whatever their names; UTF-16 and UTF-32 are known
by their byte order mark; line ends may be LF, CRLF or, throughout the file, CR. Plain UTF-8 is passed
through untouched.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from recsys.errors import InputError

ARCHIVES = {".gz", ".zip"}
PIECE = 1 << 20
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


# What a file begins with that is no text, and what to do about it.
OTHER_KINDS = (
    (b"PAR1", "a Parquet file: name it .parquet"),
    (b"BZh", "packed with bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "packed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"SQLite format 3\0", "an SQLite database: export the table as CSV"),
    (b"\x89HDF", "an HDF5 file: export the table as CSV"),
    (b"\x80\x04\x95", "a Python pickle, which is not read: write the table as CSV or Parquet"),
)


class Reencoded(io.RawIOBase):
    """A byte stream decoded from ``codec``, its line ends made LF where ``bare_cr``, encoded as UTF-8."""

    def __init__(self, source: BinaryIO, codec: str, *, bare_cr: bool) -> None:
        self.source = source
        self.decoder = codecs.getincrementaldecoder(codec)("surrogatepass" if codec == "utf-8" else "strict")
        self.bare_cr = bare_cr
        self.pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]
        while not self.pending:
            piece = self.source.read(PIECE)
            text = self.decoder.decode(piece, final=not piece)
            if self.bare_cr:
                text = text.replace("\r", "\n")
            self.pending = text.encode("utf-8")
            if not piece:
                break
        count = min(len(target), len(self.pending))
        target[:count] = self.pending[:count]
        self.pending = self.pending[count:]
        return count


@contextmanager
def open_table(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """The table's UTF-8 bytes, without a byte order mark, and the encoding's name.

    Raises:
        InputError: The archive is broken or holds several tables, or the bytes are not text.
    """
    try:
        with opened(path) as file:
            yield text_stream(file, path)
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: not a whole archive ({error}); copy it again or unpack it yourself"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: its byte order mark says {error.encoding.upper()}, but it is not ({error.reason}); "
            "save it as UTF-8"
        ) from None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where its content says so."""
    with path.open("rb") as file:
        start = file.read(16)
    for mark, kind in OTHER_KINDS:
        if start.startswith(mark):
            raise InputError(f"{path}: this is {kind}")
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(path, "rb") as unpacked:
            yield cast(BinaryIO, unpacked)
    elif start.startswith(b"PK\x03\x04") or path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            name = only_member(path, archive)
            try:
                with archive.open(name) as member:
                    yield cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, member)))
            except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
                raise InputError(f"{path}: cannot unpack {name}: {error}; unpack it yourself") from None
    elif path.suffix.lower() == ".gz":
        raise InputError(f"{path}: not a gzip file, whatever its name says; download it again or rename it")
    else:
        with path.open("rb") as plain:
            yield plain


def only_member(path: Path, archive: zipfile.ZipFile) -> str:
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/")
        and not name.startswith("__MACOSX/")
        and not PurePosixPath(name).name.startswith(".")
    ]
    if any(name.startswith("xl/") for name in names):
        raise InputError(f"{path}: this is an Excel workbook: save the sheet as CSV")
    if len(names) != 1:
        raise InputError(
            f"{path}: expected an archive of one table, got {len(names)} files"
            f"{': ' + ', '.join(names[:5]) if names else ''}; unpack it and name the table or the folder"
        )
    return names[0]


def text_stream(file: BinaryIO, path: Path) -> tuple[BinaryIO, str]:
    buffered: Any = file if hasattr(file, "peek") else io.BufferedReader(cast(io.RawIOBase, file))
    head = buffered.peek(4096)
    for mark, codec, name in MARKS:
        if head.startswith(mark):
            buffered.read(len(mark))
            text = head[len(mark) :].decode(codec, errors="ignore")
            bare = "\r" in text and "\n" not in text
            return cast(BinaryIO, io.BufferedReader(Reencoded(buffered, codec, bare_cr=bare), PIECE)), name
    if head.startswith(codecs.BOM_UTF8):
        buffered.read(3)
    if b"\0" in head:
        if head.count(b"\0") >= len(head) // 4:
            raise InputError(f"{path}: not text, or UTF-16 without its byte order mark; save it as UTF-8")
        raise InputError(f"{path}: holds NUL bytes: cut off, damaged or not text; copy it again")
    if b"\r" in head[:-1] and b"\n" not in head:
        return cast(BinaryIO, io.BufferedReader(Reencoded(buffered, "utf-8", bare_cr=True), PIECE)), "UTF-8"
    return cast(BinaryIO, buffered), "UTF-8"


def inner_name(path: Path) -> Path:
    """The name that tells a table's kind: ``ratings.csv`` for ``ratings.csv.gz``."""
    return path.with_suffix("") if path.suffix.lower() in ARCHIVES else path
