"""Templates: all that come along load, fit the bounds when scaled, and refuse unknown modifications."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.bounds import DataShape, violations
from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import make_config
from search.config.template import FOLDER, load_template
from search.sampling.search_space import Space

SHAPES = [DataShape(943, 1682), DataShape(6040, 3706), DataShape(200_948, 84_432)]


def test_the_baseline_is_the_formula() -> None:
    template = load_template("hybrid_vae_baseline")
    assert make_config(template.family, template.config) == HybridVaeConfig()
    assert template.epochs == 99


@pytest.mark.parametrize("shape", SHAPES)
def test_every_template_fits_the_bounds_when_scaled(shape: DataShape) -> None:
    paths = sorted(FOLDER.rglob("*.yaml"))
    assert len(paths) >= 3
    for path in paths:
        template = load_template(str(path))
        config = make_config(template.family, Space(template.family, shape).inside(template.config))
        assert template.family != "hybrid_vae" or violations(config, shape) == []


def test_the_optimised_template_is_scaled_on_small_data_only() -> None:
    config = load_template("hybrid_vae_optimized").config
    assert Space("hybrid_vae", SHAPES[0]).inside(config) != config
    assert Space("hybrid_vae", SHAPES[1]).inside(config) == config


def test_the_plans_modification_sets_the_seed() -> None:
    template = load_template("hybrid_vae_optimized", {"training": {"seed": 42, "learning_rate": 0.001}})
    assert template.seed == 42
    assert template.config["learning_rate"] == 0.001


@pytest.mark.parametrize(
    ("name", "modifications", "message"),
    [
        ("hybrid_vae_optimised", None, "did you mean hybrid_vae_optimized"),
        ("hybrid_vae_optimized", {"trainign": {}}, "did you mean training"),
        ("hybrid_vae_optimized", {"training": {"sede": 1}}, "did you mean seed"),
        ("hybrid_vae_optimized", {"training": {"seed": "x"}}, "whole number"),
        ("hybrid_vae_optimized", {"model": {"dropout": 2}}, "dropout is 2"),
        ("hybrid_vae_optimized", {"model": 3}, "expected fields"),
    ],
)
def test_what_is_wrong_is_said(name: str, modifications: dict | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_template(name, modifications)


def test_a_broken_template_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for content, message in (
        ("model: {}", "names no family"),
        ("family: hybrid_vea", "did you mean hybrid_vae"),
        ("family: hybrid_vae\nmodell: {}", "did you mean model"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_template(str(path))
