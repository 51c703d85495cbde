"""Titles laid out for searching: a line each, whatever is in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recsys.release.arrays import Titles

text = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.lists(text, max_size=8))
def test_every_title_is_one_line_in_its_place(titles: list[str]) -> None:
    lines, ends = Titles.of(titles).lines()
    starts = [0, *ends[:-1].tolist()]
    cut = [lines[start:end] for start, end in zip(starts, ends.tolist(), strict=True)] if titles else []
    assert cut == [title.replace("\n", " ").casefold() + "\n" for title in titles]
