"""The safe bounds: the formula is inside, each bound is told with its figures, nothing slips past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import bounds
from recsys.bounds import (
    FORMULA,
    DataShape,
    parameter_count,
    require_safe,
    scale_into_bounds,
    violations,
)
from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import FAMILIES, make_config
from search.sampling.search_space import Space
from tests.small_ratings import training_data

ML_100K, ML_1M, ML_32M = DataShape(943, 1682), DataShape(6040, 3706), DataShape(200_948, 84_432)
OPTIMISED = HybridVaeConfig(
    factors=200, hidden=(640, 384, 192), latent=80, kl_schedule="cosine", kl_start=0.005, kl_end=0.012
)


def test_the_formula_is_inside_everywhere() -> None:
    for shape in (ML_100K, ML_1M, ML_32M, DataShape(5, 5)):
        assert violations(FORMULA, shape) == []


def test_the_optimised_template_is_as_large_as_measured() -> None:
    shares = [
        parameter_count(OPTIMISED, shape) / parameter_count(FORMULA, shape) for shape in (ML_100K, ML_1M)
    ]
    assert shares == pytest.approx([1.63, 1.47], abs=0.01)
    assert [entry.field for entry in violations(OPTIMISED, ML_100K)] == ["parameters"]
    assert violations(OPTIMISED, ML_1M) == []
    assert scale_into_bounds(OPTIMISED, ML_1M) is OPTIMISED
    scaled = scale_into_bounds(OPTIMISED, ML_100K)
    assert violations(scaled, ML_100K) == []
    assert violations(replace(scaled, factors=scaled.factors + 1), ML_100K) != []


def test_every_broken_bound_is_listed() -> None:
    config = HybridVaeConfig(
        factors=226, hidden=(769, 385, 193), latent=97, kl_schedule="cosine", kl_end=0.0151, batch_size=1536
    )
    result = {entry.field: entry for entry in violations(config, ML_100K)}
    assert set(result) == {
        "kl_weight",
        "factors",
        "latent",
        "hidden[0]",
        "hidden[1]",
        "hidden[2]",
        "parameters",
        "batch_size",
    }
    assert (result["kl_weight"].value, result["kl_weight"].limit, result["kl_weight"].formula) == (
        0.0151,
        0.015,
        0.01,
    )
    with pytest.raises(InputError, match=r"hidden\[0\] 769 is above 768 \(the formula has 512\)"):
        require_safe(config, ML_100K)
    small = replace(FORMULA, batch_size=1536)
    assert violations(small, ML_100K, small_batch_allowed=True) == []
    assert violations(replace(small, batch_size=1024), ML_100K, small_batch_allowed=True) != []


@pytest.mark.parametrize("normalisation", ["batch", "layer", "none"])
@pytest.mark.parametrize("history", ["none", "implicit", "ratings"])
@pytest.mark.parametrize("biases", [False, True])
def test_the_count_is_that_of_the_real_tensors(normalisation: str, history: str, biases: bool) -> None:
    fields = {
        "factors": 12,
        "hidden": [16, 8],
        "latent": 4,
        "normalisation": normalisation,
        "history": history,
        "dot_product": 0 if history == "none" else 6,
        "biases": biases,
    }
    data = training_data()
    config = make_config("hybrid_vae", fields)
    trainer = FAMILIES["hybrid_vae"].build(config, data, epochs=1, seed=0, device=torch.device("cpu"))
    assert trainer.parameters == parameter_count(config, DataShape.of(data))


class Drawing:
    """Any point of every range, as Hypothesis draws it."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self.draw(st.floats(low, high)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return low + step * int(self.draw(st.integers(0, (high - low) // step)))

    def suggest_categorical(self, name: str, choices: list[str]) -> str:
        return str(self.draw(st.sampled_from(choices)))


@settings(max_examples=500, deadline=None)
@given(st.data(), st.sampled_from([ML_100K, ML_1M, ML_32M]))
def test_what_the_search_draws_is_inside(data: st.DataObject, shape: DataShape) -> None:
    drawn = Space("hybrid_vae", shape, fixed={}).draw(Drawing(data.draw))
    assert violations(make_config("hybrid_vae", drawn), shape) == []


class TopOfRange:
    """Draws the upper end of every range and the last option of every choice."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return high

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return high

    def suggest_categorical(self, name: str, choices: list[str]) -> str:
        return choices[-1]


def test_a_lowered_bound_lowers_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    space = Space("hybrid_vae", ML_1M, fixed={"history": "none", "start": "random"})
    assert space.draw(TopOfRange())["kl_weight"] == 0.015
    monkeypatch.setattr(bounds, "HIGHEST_KL_WEIGHT", 0.010)
    monkeypatch.setattr(bounds, "LARGEST_SHARE", 1.0)
    drawn = space.draw(TopOfRange())
    assert drawn["kl_weight"] == 0.010
    ranges = FAMILIES["hybrid_vae"].ranges
    assert (ranges["factors"].high, ranges["latent"].high) == (150, 64)  # type: ignore[union-attr]
    assert list(ranges["hidden"].options) == ["128-64", "256-128", "512-256-128"]  # type: ignore[union-attr]
    assert violations(make_config("hybrid_vae", drawn), ML_1M) == []
