"""Configs of model families: frozen pydantic dataclasses whose errors name the field and its valid range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields as fields_of
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from recsys.errors import InputError, suggest_names
from recsys.types import JsonObject

Config = TypeVar("Config")
Share = Annotated[float, Field(ge=0, lt=1)]
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass_transform(frozen_default=True)
def family_config(owner: str) -> Callable[[type[Config]], type[Config]]:
    """Class decorator: a frozen dataclass, validated whenever it is made (by ``dataclasses.replace`` too).

    A field's range is declared at the field (``Annotated[int, Field(ge=1)]``); how fields go together is
    checked in ``__post_init__`` by ``require``. A list is accepted for a tuple and 3.0 for 3, but neither "3"
    nor True for a number.

    Args:
        owner: The family's name, which errors begin with.

    Returns:
        The decorator.

    Raises:
        InputError: When a config is made with an unknown field (near names are suggested), a value of another
            type or outside its range, or values that contradict each other.
    """

    def decorate(kind: type[Config]) -> type[Config]:
        made = cast(Any, validated_dataclass(frozen=True, config=STRICT)(kind))
        validate = made.__init__
        types = get_type_hints(made)

        def __init__(self: Any, *values: Any, **fields: Any) -> None:
            plain = {name: _from_json(value, types.get(name)) for name, value in fields.items()}
            try:
                validate(self, *values, **plain)
            except ValidationError as error:
                raise _input_error(error, owner, made) from None

        made.__init__ = __init__
        return cast(type[Config], made)

    return decorate


def require(condition: bool, message: str) -> None:
    """Checks how the fields of a config go together.

    Args:
        condition: What must hold.
        message: What was got, what was expected and what to do.

    Raises:
        InputError: ``condition`` is false.
    """
    if not condition:
        raise InputError(message)


def _from_json(value: Any, kind: Any) -> Any:
    """Converts a value from JSON or a sampler to the field's type: list -> tuple, 3.0 -> 3."""
    if isinstance(value, list):
        return tuple(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _input_error(error: ValidationError, owner: str, kind: type[Any]) -> InputError:
    """The first error in one sentence: the field, what was got, what was expected."""
    fault = error.errors()[0]
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause
    name = str(fault["loc"][0]) if fault["loc"] else ""
    if fault["type"] == "unexpected_keyword_argument":
        names = [field.name for field in fields_of(kind)]
        return InputError(f"{owner} has no field {name!r}; {suggest_names(name, names)}")
    where = f"{owner}.{name}" + "".join(f"[{index}]" for index in fault["loc"][1:])
    return InputError(f"{where} is {fault['input']!r}, expected {_expected(fault, kind, name)}")


def _expected(fault: Any, kind: type[Any], name: str) -> str:
    """The field's valid values: "1 to 256", "0 to below 1", "one of 'batch' or 'none'", "a valid integer"."""
    match fault["type"]:
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return _limits(TypeAdapter(kind).json_schema()["properties"][name])
        case "literal_error":
            return f"one of {fault['ctx']['expected']}"
        case "tuple_type":
            return "a list"
        case "too_short":
            return f"at least {fault['ctx']['min_length']} element"
        case _:
            return str(fault["msg"]).removeprefix("Input should be ")


def _limits(field: JsonObject) -> str:
    """A field's range in words, from its JSON schema; of a list, the range of its elements."""
    field = field.get("items", field)
    low, high = field.get("minimum"), field.get("maximum")
    start = f"above {field['exclusiveMinimum']}" if "exclusiveMinimum" in field else str(low)
    if "exclusiveMaximum" in field:
        return f"{start} to below {field['exclusiveMaximum']}"
    if high is not None:
        return f"at most {high}" if start == "None" else f"{start} to {high}"
    return start if start.startswith("above") else f"{start} or more"
