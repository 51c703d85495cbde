"""Registry of model families by name. A new family is a file and a line in ``FAMILIES``.

Nothing here imports torch: a family imports it when it builds a trainer, so that serving can do without.
"""

from __future__ import annotations

from typing import Any

from recsys.errors import InputError, suggest_names
from recsys.models import bias, item_knn
from recsys.models.base import ModelFamily
from recsys.models.bayes_mf import family as bayes_mf
from recsys.models.hybrid_vae import family as hybrid_vae
from recsys.models.item_gp import family as item_gp
from recsys.models.mf import family as mf
from recsys.models.myfm import family as myfm
from recsys.types import JsonObject

FAMILIES: dict[str, ModelFamily] = {
    family.name: family
    for family in (
        hybrid_vae.FAMILY,
        bias.FAMILY,
        mf.FAMILY,
        bayes_mf.FAMILY,
        item_knn.FAMILY,
        item_gp.FAMILY,
        myfm.FAMILY,
    )
}


def family_named(name: str) -> ModelFamily:
    """A model family by name.

    Args:
        name: A key of ``FAMILIES``.

    Returns:
        The family.

    Raises:
        InputError: An unknown name; similar names are suggested.
    """
    if name not in FAMILIES:
        raise InputError(f"there is no model family {name!r}; {suggest_names(name, FAMILIES)}")
    return FAMILIES[name]


def make_config(family: str, fields: JsonObject) -> Any:
    """A family's config.

    Args:
        family: Its name.
        fields: Values by field; the others keep the family's defaults.

    Returns:
        An instance of the family's ``config_type``.

    Raises:
        InputError: An unknown family or field (similar names are suggested), a value of the wrong type, or
            values that contradict each other.
    """
    return family_named(family).config_type(**fields)
