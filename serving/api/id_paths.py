"""Path parameters for arbitrary ids: Starlette's ``path`` convertor stops at a line feed."""

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
    """Register the convertor ``any``; to be called before routes that use it are defined."""
    register_url_convertor("any", AnyIdConvertor())
