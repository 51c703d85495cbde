"""Paths with any id in them: Starlette's ``path`` convertor stops at a line feed, this one at nothing."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class AnyIdConvertor(Convertor[str]):
    """``{user_id:any}``: one or more characters, slashes and line feeds too."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register_any_id() -> None:
    """Makes ``any`` known to routes; needed before the first of them is defined."""
    register_url_convertor("any", AnyIdConvertor())
