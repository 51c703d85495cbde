"""The filter language: parsed, with the place of what is wrong, and held to an independent reference."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.catalogue.filter_columns import Column, matching
from serving.catalogue.filter_grammar import (
    And,
    Comparison,
    Filter,
    FilterSyntaxError,
    Literal,
    Membership,
    Not,
    Or,
    Presence,
    Test,
    parse_filter,
)

NAMES = ("year", "genre", "price", "lang", "kids")


def columns_of(items: list[dict[str, Any]]) -> Any:
    def column(test: Test) -> Column:
        nothing = Column([None], np.zeros(0, dtype=np.int32))
        return nothing.patched({row: item.get(test.name) for row, item in enumerate(items)}, len(items))

    return column


def test_precedence_brackets_and_quotes() -> None:
    year = Comparison("year", ">=", Literal("2020", 2020.0), 1)
    drama = Membership("genre", (Literal("Drama"), Literal("Film-Noir")), 18)
    tree = parse_filter("year >= 2020 AND (genre IN (Drama, Film-Noir) or not kids)")
    assert tree == And((year, Or((Membership("genre", drama.values, 19), Not(Presence("kids", 54))))))
    assert parse_filter("a or b and c") == Or((Presence("a", 1), And((Presence("b", 6), Presence("c", 12)))))
    assert parse_filter("'the name' == 'it''s'") == Comparison("the name", "=", Literal("it's"), 1)
    assert parse_filter("a not in (1)") == Not(Membership("a", (Literal("1", 1.0),), 1))


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 1, "expected a name, got the end"),
        ("year >", 7, "expected a value, got the end"),
        ("year >= 2020 genre", 14, "expected and, or, or the end, got 'genre'"),
        ("(year = 1", 10, "expected ')', got the end"),
        ("lang = 'en", 8, "a quote that is not closed"),
        ("lang ; drop", 6, "';' is unexpected"),
        ("genre in ()", 11, "expected a value, got ')'"),
        ("genre in Drama", 10, "expected '(', got 'Drama'"),
        ("year => 1", 7, "expected a value, got '>'"),
        ("not", 4, "expected a name, got the end"),
        ("__import__('os')", 11, "expected and, or, or the end, got '('"),
        ("(" * 60 + "a" + ")" * 60, 52, "nested more than 50 deep"),
        ("not " * 60 + "a", 205, "nested more than 50 deep"),
        ("a" * 2_001, 2_001, "at most 2000 characters"),
    ],
)
def test_what_does_not_parse_is_told_with_its_place(text: str, place: int, words: str) -> None:
    with pytest.raises(FilterSyntaxError, match=re.escape(words)) as messages:
        parse_filter(text)
    assert messages.value.position == place
    assert str(messages.value).startswith(f"where: at character {place}: ")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab1 .()<>=!,'\"-ndotriné\n"), max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    assert 1 <= place_of_error(text) <= len(text) + 1


def place_of_error(text: str) -> int:
    """Where ``text`` does not parse; 1 where it does."""
    try:
        parse_filter(text)
    except FilterSyntaxError as error:
        return error.position
    return 1


# -- an independent reference: plain Python over dicts, values compared one by one ------------------

number = st.integers(-3, 3).map(float) | st.sampled_from([0.5, 1995.0])
word = st.sampled_from(["en", "DE", "Drama", "Film-Noir", "1995", "true", "é"])
value = number | word | st.booleans() | st.lists(word, max_size=3).map(tuple) | st.none()
item = st.dictionaries(st.sampled_from(NAMES), value, max_size=5)


@st.composite
def literals(draw: st.DrawFn) -> tuple[str, Any]:
    """Text in the language, and what it stands for: a number (with its spelling) or a text."""
    if draw(st.booleans()):
        given_number = draw(number)
        return f"{given_number:g}", given_number
    text = draw(word)
    return f"'{text}'", text


def same(cell: Any, wanted: Any) -> bool:
    if isinstance(cell, tuple):
        return any(same(part, wanted) for part in cell)
    spelled = f"{wanted:g}" if isinstance(wanted, float) else wanted
    if isinstance(cell, bool):
        return spelled.lower() == ("true" if cell else "false")
    if isinstance(cell, str):
        return cell.lower() == spelled.lower()
    return isinstance(wanted, float) and cell == wanted


def ordered(cell: Any, sign: str, wanted: Any) -> bool:
    if isinstance(cell, tuple):
        return any(ordered(part, sign, wanted) for part in cell)
    if cell is None or isinstance(cell, bool):
        return False
    if isinstance(cell, str):
        left, right = cell.lower(), (f"{wanted:g}" if isinstance(wanted, float) else wanted).lower()
    elif isinstance(wanted, float):
        left, right = cell, wanted
    else:
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign])


@st.composite
def filters(draw: st.DrawFn, depth: int = 0) -> tuple[str, Any]:
    """A filter as text, and as a function of an item."""
    kind = draw(st.sampled_from(["test", "in", "has"] + ["and", "or", "not"] * (depth < 3)))
    name = draw(st.sampled_from(NAMES))
    if kind == "has":
        return name, lambda item: bool(item.get(name))
    if kind == "test":
        sign = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
        text, wanted = draw(literals())
        if sign == "=":
            return f"{name}={text}", lambda item: same(item.get(name), wanted)
        if sign == "!=":
            return f"{name} != {text}", lambda item: not same(item.get(name), wanted)
        return f"{name} {sign} {text}", lambda item: ordered(item.get(name), sign, wanted)
    if kind == "in":
        several = draw(st.lists(literals(), min_size=1, max_size=3))
        inverted = draw(st.booleans())
        text = f"{name} {'not ' * inverted}in ({', '.join(text for text, _ in several)})"
        return text, lambda item: any(same(item.get(name), entry) for _, entry in several) != inverted
    left, holds = draw(filters(depth + 1))
    if kind == "not":
        return f"not ({left})", lambda item: not holds(item)
    right, also = draw(filters(depth + 1))
    if kind == "and":
        return f"({left}) and ({right})", lambda item: holds(item) and also(item)
    return f"({left}) OR ({right})", lambda item: holds(item) or also(item)


@settings(max_examples=150, deadline=None)
@given(filters(), st.lists(item, max_size=8))
def test_filters_hold_for_what_a_plain_reference_says(
    made: tuple[str, Any], items: list[dict[str, Any]]
) -> None:
    text, holds = made
    tree: Filter = parse_filter(text)
    assert matching(tree, columns_of(items)).tolist() == [holds(item) for item in items]
