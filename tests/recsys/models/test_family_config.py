"""A family's config: what it takes, and the sentence for each kind of fault."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from recsys.errors import InputError
from recsys.models.registry import make_config
from recsys.types import JsonObject


def test_a_list_is_taken_for_a_tuple_and_a_whole_float_for_an_integer() -> None:
    config = make_config("hybrid_vae", {"hidden": [64, 32], "factors": 20.0, "dropout": 0})
    assert (config.hidden, config.factors, config.dropout) == ((64, 32), 20, 0)
    assert type(config.factors) is int


@pytest.mark.parametrize(
    ("family", "fields", "sentence"),
    [
        (
            "hybrid_vae",
            {"dropuot": 0.1},
            "hybrid_vae has no field 'dropuot'; did you mean dropout or output?",
        ),
        ("bayes_mf", {"factors": 0}, "bayes_mf.factors is 0, expected 1 to 256"),
        ("bayes_mf", {"factors": "3"}, "bayes_mf.factors is '3', expected a valid integer"),
        ("bayes_mf", {"factors": True}, "bayes_mf.factors is True, expected a valid integer"),
        ("bayes_mf", {"factors": 2.5}, "bayes_mf.factors is 2.5, expected a valid integer"),
        ("hybrid_vae", {"dropout": 1.0}, "hybrid_vae.dropout is 1.0, expected 0 to below 1"),
        ("hybrid_vae", {"kl_weight": math.nan}, "hybrid_vae.kl_weight is nan, expected a finite number"),
        ("hybrid_vae", {"biases": 1}, "hybrid_vae.biases is 1, expected a valid boolean"),
        ("hybrid_vae", {"learning_rate": None}, "hybrid_vae.learning_rate is None, expected a valid number"),
        ("hybrid_vae", {"hidden": []}, "hybrid_vae.hidden is (), expected at least 1 element"),
        ("hybrid_vae", {"hidden": [64, 0]}, "hybrid_vae.hidden[1] is 0, expected above 0"),
        ("hybrid_vae", {"hidden": 64}, "hybrid_vae.hidden is 64, expected a list"),
        ("hybrid_vae", {"swa_start": 0.0}, "hybrid_vae.swa_start is 0.0, expected above 0 to 1"),
        ("item_gp", {"rank": 500}, "item_gp.rank is 500, expected at most 128"),
        ("mf", {"factors": 0}, "mf.factors is 0, expected above 0"),
        ("bias", {"user_damping": -1.0}, "bias.user_damping is -1.0, expected 0 or more"),
        (
            "hybrid_vae",
            {"normalisation": "btach"},
            "hybrid_vae.normalisation is 'btach', expected one of 'batch', 'batch_recalibrated', "
            "'layer' or 'none'",
        ),
    ],
)
def test_a_fault_is_one_sentence_with_the_field(family: str, fields: JsonObject, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        make_config(family, fields)
    assert str(caught.value) == sentence


def test_a_changed_copy_is_validated_too() -> None:
    config = make_config("hybrid_vae", {"kl_weight": 0.01})
    assert replace(config, kl_weight=0.005).kl_weight == 0.005
    with pytest.raises(InputError, match=r"hybrid_vae.learning_rate is -1.0, expected 0 or more"):
        replace(config, learning_rate=-1.0)
