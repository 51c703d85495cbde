"""Who is measured in each world, and their dials: chosen on valid of the default shape, world seed 0, once.

``linear`` is for worlds that are more dot product than network. A dot product holds the linear world in 4
factors; of the network it needs many, the more the ratings can pay for.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys.types import JsonObject
from tests.benchmarks.ablation.rungs import LadderStep, Rung
from tests.benchmarks.peers.peer import Peer, grid


@dataclass(frozen=True)
class Member:
    """A step that is trained at most ``epochs`` long, stopped on valid."""

    step: LadderStep
    epochs: int

    @property
    def name(self) -> str:
        return self.step.rung.name


def member(name: str, title: str, family: str, epochs: int, config: JsonObject) -> Member:
    return Member(LadderStep(Rung(name, title, {}, family=family), config), epochs)


VAE: JsonObject = {
    "factors": 6,
    "hidden": [128, 64],
    "latent": 16,
    "biases": True,
    "dot_product": 6,
    "history": "ratings",
    "normalisation": "layer",
    "embedding_scale": 0.05,
    "learning_rate": 4e-3,
    "learning_rate_schedule": "cosine",
    "dropout": 0.0,
    "kl_weight": 1e-3,
    "weight_decay": 2e-4,
}
AVERAGED: JsonObject = {"ema_decay": 0.995, "weight_decay": 1e-4}
START: JsonObject = {"start": "factorisation", "learning_rate": 2e-3}
LINEAR = (
    member("bias", "bias", "bias", 3, {}),
    member("mf", "biased MF, variational", "mf", 12, {"factors": 6}),
    member("bayes-mf", "Bayesian MF", "bayes_mf", 8, {"factors": 5, "sweeps": 48}),
    member("vae", "hybrid VAE", "hybrid_vae", 8, VAE),
    member(
        "vae-start",
        "hybrid VAE, started from a factorisation",
        "hybrid_vae",
        4,
        VAE | START | {"start_factors": 5, "start_rank": 16, "start_sweeps": 48},
    ),
)
NONLINEAR = (
    member("bias", "bias", "bias", 3, {}),
    member("mf", "biased MF, variational", "mf", 12, {"factors": 16}),
    member("bayes-mf", "Bayesian MF", "bayes_mf", 8, {"factors": 32, "output": "gaussian", "sweeps": 40}),
    member("vae", "hybrid VAE", "hybrid_vae", 8, VAE | AVERAGED),
    member("vae-wide", "hybrid VAE, wider", "hybrid_vae", 8, VAE | AVERAGED | {"hidden": [256, 128]}),
    member(
        "vae-start",
        "hybrid VAE, started from a factorisation",
        "hybrid_vae",
        5,
        VAE | START | {"start_factors": 24, "start_rank": 32, "start_sweeps": 32},
    ),
)


def members(nonlinear: float) -> tuple[Member, ...]:
    return LINEAR if nonlinear < 0.5 else NONLINEAR


def peers(nonlinear: float) -> tuple[Peer, ...]:
    """One setting of SVD++, which reads a whole history for every rating: minutes of a core a training. Its
    steps are longer and fewer than Surprise's own 20 of 0.007."""
    factors = 8 if nonlinear < 0.5 else 16
    plus = {"model": "SVDpp", "cache_ratings": True, "n_epochs": 10, "lr_all": 0.015}
    return (
        Peer(
            "Surprise SVD",
            "surprise",
            "rate",
            grid({"model": "SVD", "n_epochs": 30, "n_factors": factors}, reg_all=(0.05, 0.03, 0.02, 0.01)),
        ),
        Peer("Surprise SVD++", "surprise", "rate", grid(plus, n_factors=(factors,), reg_all=(0.02,))),
    )
