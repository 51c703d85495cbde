"""Plain tables: what stands under what, and that nothing of a cell is lost."""

from __future__ import annotations

from recsys.text_table import number, text_table


def test_words_to_the_left_numbers_to_the_right() -> None:
    rows = [["bias", number(0.94321), "12"], ["[b]ensemble[/b]", number(None), "1,234"]]
    assert text_table(["", "rmse", "users"], rows).split("\n") == [
        "                   rmse  users",
        "------------------------------",
        "bias             0.9432     12",
        "[b]ensemble[/b]       -  1,234",
    ]


def test_a_long_cell_is_neither_wrapped_nor_cut() -> None:
    long = "a title of a film " * 40
    table = text_table(["title", "stars"], [[long.strip(), "4.5"]])
    assert long.strip() in table
    assert len(table.split("\n")) == 3
