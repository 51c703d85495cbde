"""Parser of the filter language of ``where=``: a filter becomes a tree and is never evaluated as code.

    filter     = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation   = "not" negation | "(" filter ")" | test
    test       = name [ comparison value | ["not"] "in" "(" value { "," value } ")" ]
    comparison = "=" | "!=" | "<" | "<=" | ">" | ">="
    value      = number | word | 'text' | "text"

A name alone tests for a value that is present and not false, zero or empty. Words and names consist of
letters, digits and ``_ . : + -`` (others are quoted, with inner quotes doubled); keywords are
case-insensitive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal as OneOf

from recsys.errors import InputError

MAX_LENGTH = 2_000  # characters of a filter
MAX_DEPTH = 50  # of brackets and negations
TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator><=|>=|!=|==|[=<>(),])
      | (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<word>[\w.:+-]+)
    )""",
    re.VERBOSE,
)
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
KEYWORDS = ("and", "or", "not", "in")
Operator = OneOf["=", "!=", "<", "<=", ">", ">="]
COMPARISONS: tuple[Operator, ...] = ("=", "!=", "<", "<=", ">", ">=")


class FilterSyntaxError(InputError):
    """A filter that does not parse. ``position`` counts characters from 1."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(f"where: at character {position}: {problem}")
        self.position = position


@dataclass(frozen=True)
class Literal:
    """A value as written; ``number`` where it is an unquoted number."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A comparison with a value. ``position`` is that of the name, for messages."""

    name: str
    operator: Operator
    value: Literal
    position: int = 0


@dataclass(frozen=True)
class Membership:
    """The name has any of ``values``."""

    name: str
    values: tuple[Literal, ...]
    position: int = 0


@dataclass(frozen=True)
class Presence:
    """The name has a value that is not false, zero or empty."""

    name: str
    position: int = 0


@dataclass(frozen=True)
class Not:
    part: Filter


@dataclass(frozen=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Filter, ...]


Test = Comparison | Membership | Presence
Filter = Test | Not | And | Or


@dataclass(frozen=True)
class Token:
    kind: OneOf["operator", "quoted", "word", "keyword", "end"]
    text: str
    position: int


def parse_filter(text: str) -> Filter:
    """The tree of a filter.

    Raises:
        FilterSyntaxError: the filter does not parse.
    """
    if len(text) > MAX_LENGTH:
        raise FilterSyntaxError(MAX_LENGTH + 1, f"a filter has at most {MAX_LENGTH} characters")
    parser = _Parser(_tokens(text))
    tree = parser.alternatives(0)
    parser.expect_end()
    return tree


def _tokens(text: str) -> list[Token]:
    tokens = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            position = at + len(text[at:]) - len(text[at:].lstrip())
            problem = (
                "a quote that is not closed"
                if text[position] in "'\""
                else f"{text[position]!r} is unexpected"
            )
            raise FilterSyntaxError(position + 1, problem)
        kind, word = match.lastgroup, match[match.lastgroup]
        position = match.start(kind) + 1
        if kind == "quoted":
            tokens.append(Token("quoted", word[1:-1].replace(word[0] * 2, word[0]), position))
        elif kind == "operator":
            tokens.append(Token("operator", "=" if word == "==" else word, position))
        else:
            keyword = word.casefold() in KEYWORDS
            tokens.append(
                Token("keyword", word.casefold(), position) if keyword else Token("word", word, position)
            )
        at = match.end()
    return [*tokens, Token("end", "the end", end + 1)]


class _Parser:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def alternatives(self, depth: int) -> Filter:
        parts = [self._conjunction(depth)]
        while self._accept("or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise self._unexpected("and, or, or the end")

    def _conjunction(self, depth: int) -> Filter:
        parts = [self._negation(depth)]
        while self._accept("and"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negation(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise FilterSyntaxError(self._next.position, f"brackets are nested more than {MAX_DEPTH} deep")
        if self._accept("not"):
            return Not(self._negation(depth + 1))
        if self._accept("("):
            inner = self.alternatives(depth + 1)
            self._expect(")")
            return inner
        return self._test()

    def _test(self) -> Filter:
        name = self._next
        if name.kind not in ("word", "quoted"):
            raise self._unexpected("a name")
        self._at += 1
        if self._accept("in"):
            return self._membership(name)
        if self._next.text == "not" and self._next.kind == "keyword":
            self._at += 1
            self._expect("in")
            return Not(self._membership(name))
        for operator in COMPARISONS:
            if self._accept(operator):
                return Comparison(name.text, operator, self._value(), name.position)
        return Presence(name.text, name.position)

    def _membership(self, name: Token) -> Membership:
        self._expect("(")
        values = [self._value()]
        while self._accept(","):
            values.append(self._value())
        self._expect(")")
        return Membership(name.text, tuple(values), name.position)

    def _value(self) -> Literal:
        token = self._next
        if token.kind not in ("word", "quoted"):
            raise self._unexpected("a value")
        self._at += 1
        number = token.kind == "word" and NUMBER.fullmatch(token.text)
        return Literal(token.text, float(token.text) if number else None)

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _accept(self, text: str) -> bool:
        accepted = self._next.kind in ("operator", "keyword") and self._next.text == text
        self._at += accepted
        return accepted

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unexpected(repr(text))

    def _unexpected(self, expected: str) -> FilterSyntaxError:
        token = self._next
        received = token.text if token.kind == "end" else repr(token.text)
        return FilterSyntaxError(token.position, f"expected {expected}, got {received}")
