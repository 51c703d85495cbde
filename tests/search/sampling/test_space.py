"""Whatever a sampler draws is inside the safe bounds, on data of any shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.bounds import BATCH_SIZE, FORMULA, DataShape, parameter_count, violations
from recsys.models.registry import FAMILIES, make_config
from recsys.training.serialization import plain
from search.sampling.search_space import Space

SHAPES = st.builds(DataShape, users=st.integers(20, 250_000), items=st.integers(20, 90_000))


class Drawn:
    """A suggester that Hypothesis drives."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.values: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return self.values.setdefault(name, self.data.draw(st.floats(low, high), label=name))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        assert low <= high
        positions = st.integers(0, (high - low) // step)
        return self.values.setdefault(name, low + step * self.data.draw(positions, label=name))

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        return self.values.setdefault(name, self.data.draw(st.sampled_from(choices), label=name))


@pytest.mark.slow
@settings(max_examples=1000, deadline=None)
@given(data=st.data(), shape=SHAPES)
def test_a_thousand_draws_stay_inside(data: st.DataObject, shape: DataShape) -> None:
    fields = Space("hybrid_vae", shape).draw(Drawn(data))
    config = make_config("hybrid_vae", fields)
    assert violations(config, shape) == []
    # The bounds again, by hand: what the plan's risk chapter says, not what the code calls.
    assert config.highest_kl_weight() <= 0.015
    assert parameter_count(config, shape) <= 1.5 * parameter_count(FORMULA, shape)
    assert config.factors <= 225
    assert config.latent <= 96
    assert all(w <= 1.5 * f for w, f in zip(config.hidden, (512, 256, 128), strict=False))
    assert config.batch_size == BATCH_SIZE


@settings(max_examples=200, deadline=None)
@given(data=st.data(), shape=SHAPES)
def test_a_drawn_config_is_described_by_its_draws(data: st.DataObject, shape: DataShape) -> None:
    space = Space("hybrid_vae", shape)
    suggester = Drawn(data)
    fields = space.draw(suggester)
    if fields == space.inside(fields):
        described = space.describe(plain(make_config("hybrid_vae", fields)))
        assert described is not None
        again = space.draw(_Fixed(described))
        assert make_config("hybrid_vae", again) == make_config("hybrid_vae", fields)


class _Fixed:
    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return self.values[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self.values[name]

    def suggest_categorical(self, name: str, choices: list[str]) -> Any:
        return self.values[name]


def test_fixed_fields_are_not_drawn() -> None:
    space = Space("hybrid_vae", DataShape(1000, 1000), fixed={"dropout": 0.3})
    assert "dropout" not in space.ranges


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_family_draws_configs_that_it_takes(data: st.DataObject) -> None:
    for name in FAMILIES:
        make_config(name, Space(name, DataShape(500, 400)).draw(Drawn(data)))
