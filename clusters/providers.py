"""Registry of providers: one line a kind, loaded when first needed.

Adding a provider takes three things: a module with a provider class and, where it rents, its `RentedSpec`; a
line here; a YAML. tests/contracts/test_rented_provider.py does exactly that with a made-up provider.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from clusters.cluster_errors import ClusterError

PROVIDERS = {
    "local": "clusters.local:LocalProvider",
    "address": "clusters.existing_ray:ExistingRayProvider",
    "runpod": "clusters.runpod.runpod_provider:RunpodProvider",
}


def provider_class(kind: str) -> Any:
    """The provider class registered for ``kind``.

    Raises:
        ClusterError: no provider of this kind is registered.
    """
    if not isinstance(kind, str) or kind not in PROVIDERS:
        raise ClusterError(f"no provider {kind!r}; known: {', '.join(PROVIDERS)}")
    module, name = PROVIDERS[kind].split(":")
    return getattr(import_module(module), name)
