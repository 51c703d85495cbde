"""The rungs: each changes one thing of the rung before; references stand beside the ladder."""

from __future__ import annotations

from dataclasses import dataclass, field

from recsys.errors import InputError, suggest_names
from recsys.types import JsonObject


@dataclass(frozen=True)
class Rung:
    """``changes`` are config fields on top of the rung before (of the family's defaults for a reference).
    ``trained`` False looks at the model before its first epoch."""

    name: str
    title: str
    changes: JsonObject
    family: str = "hybrid_vae"
    reference: bool = False
    trained: bool = True


@dataclass(frozen=True)
class LadderStep:
    """A rung with its whole config."""

    rung: Rung
    config: JsonObject = field(default_factory=dict)


LADDER = (
    Rung("formula", "the formula as written", {}),
    Rung("recalibrated", "BatchNorm recalibrated", {"normalisation": "batch_recalibrated"}),
    Rung("layer-norm", "LayerNorm instead", {"normalisation": "layer"}),
    Rung("biases", "user and item biases", {"biases": True}),
    Rung("dot-product", "dot-product path", {"dot_product": 32}),
    Rung("implicit-history", "implicit history, both sides", {"history": "implicit"}),
    Rung("rated-history", "history with its ratings", {"history": "ratings"}),
    Rung(
        "schedule",
        "embeddings start at 0.01, cosine learning rate",
        {"embedding_scale": 0.01, "learning_rate": 1e-3, "learning_rate_schedule": "cosine"},
    ),
    Rung("smaller", "32 factors, 256-128, latent 32", {"factors": 32, "hidden": [256, 128], "latent": 32}),
    Rung("attention", "that history pooled by attention", {"history": "attended"}),
    Rung(
        "time",
        "history summed; levels of item age and of time as a user",
        {"history": "ratings", "time": "levels"},
    ),
    Rung(
        "start",
        "starts from a factorisation, without time",
        {
            "time": "none",
            "start": "factorisation",
            "learning_rate": 3e-4,
            "weight_decay": 1e-4,
            "dot_product": 16,
        },
    ),
    Rung("low-kl", "KL weight 0.005", {"kl_weight": 0.005}),
    Rung("start-only", "that start, VAE untrained", {}, trained=False),
    Rung("feature-prior", "latent's prior centred by genres and demographics", {"latent_prior": "features"}),
    Rung(
        "ordinal",
        "ordered levels in place of a squared error",
        {"latent_prior": "standard", "output": "ordinal"},
    ),
    Rung("ordinal-users", "each user's own spread of levels", {"output": "ordinal_by_user"}),
    Rung(
        "attention-start",
        "history pooled by attention, stars again",
        {"output": "gaussian", "history": "attended"},
    ),
    Rung(
        "time-start",
        "history summed; levels of item age and of time as a user",
        {"history": "ratings", "time": "levels"},
    ),
    Rung(
        "samples",
        "without time; stars averaged over 16 draws of z",
        {"time": "none", "samples": 16},
    ),
    Rung(
        "skip",
        "z at its mean again; encoder layers added to the decoder's",
        {"samples": 0, "skip_connections": True},
    ),
    Rung("bias", "bias baseline", {}, family="bias", reference=True),
    Rung("mf", "biased MF, variational", {}, family="mf", reference=True),
    Rung(
        "bayes-plain",
        "Bayesian MF, stars, no history",
        {
            "output": "gaussian",
            "user_history": False,
            "item_history": False,
            "side_features": False,
            "user_noise": 0.0,
            "item_noise": 0.0,
        },
        family="bayes_mf",
        reference=True,
    ),
    Rung("bayes-mf", "Bayesian MF, ordinal", {}, family="bayes_mf", reference=True),
    Rung("item-gp", "a Gaussian process for each user", {}, family="item_gp", reference=True),
)


def steps(names: list[str] | None = None) -> list[LadderStep]:
    """The rungs called ``names`` (None: all) with their whole configs. InputError for an unknown name."""
    known = {rung.name for rung in LADDER}
    for name in names or []:
        if name not in known:
            raise InputError(f"there is no rung {name!r}; {suggest_names(name, known)}")
    config: JsonObject = {}
    result = []
    for rung in LADDER:
        whole = dict(rung.changes) if rung.reference else config | rung.changes
        if not rung.reference:
            config = whole
        if names is None or rung.name in names:
            result.append(LadderStep(rung, whole))
    return result
