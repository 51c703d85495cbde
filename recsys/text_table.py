"""Plain text tables for a terminal, by rich."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table

RULED = Box(str(SIMPLE_HEAD).replace("─", "-"), ascii=True)
WIDE = 10_000  # columns of a terminal that wraps nothing: a file or a pipe gets the same table


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] | None = None
) -> str:
    """Columns as wide as their widest cell, under a ruled header; no colours, no line is wrapped.

    Args:
        header: A name for each column.
        rows: Cells as they are shown, as many in each row as the header has.
        right: Columns of numbers, aligned to the right; all but the first unless given.
    """
    ruled = Table(box=RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    numbers = range(1, len(header)) if right is None else right
    for index, name in enumerate(header):
        ruled.add_column(name, justify="right" if index in numbers else "left", no_wrap=True)
    for row in rows:
        ruled.add_row(*row)
    console = Console(file=io.StringIO(), width=WIDE, color_system=None, markup=False, emoji=False)
    console.print(ruled)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip("\n").split("\n"))


def number(value: float | None, digits: int = 4) -> str:
    """A number for a cell.

    Args:
        value: None where it was not measured.
        digits: After the point.

    Returns:
        "-" for None.
    """
    return "-" if value is None else f"{value:.{digits}f}"
