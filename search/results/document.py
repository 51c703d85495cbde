"""What every part of results.json is: no field more, none unexplained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A part of results.json. Each field's docstring is its description in the JSON schema."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
