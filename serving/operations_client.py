"""Client of the operations deployment, for the HTTP routes."""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayError

from recsys.errors import InputError
from recsys.types import JsonObject


class OperationsClient:
    """Calls to the operations deployment through its Serve handle.

    Raises:
        InputError: what the deployment raised.
        OSError: the deployment cannot be reached.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def results(self, experiment: str) -> JsonObject:
        return await self._call("results", experiment)

    async def drift(self) -> JsonObject:
        return await self._call("drift")

    async def overview(self) -> JsonObject:
        return await self._call("overview")

    async def _call(self, method: str, *arguments: Any) -> JsonObject:
        try:
            answer: JsonObject = await getattr(self._handle, method).remote(*arguments)
            return answer
        except InputError as error:
            raise InputError(str(getattr(error, "cause", error))) from None
        except RayError as error:
            raise OSError(f"the operations process failed: {type(error).__name__}") from None
