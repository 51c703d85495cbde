"""Who is measured in each world, and their dials: chosen on valid of the default shape, world seed 0, once.

``linear`` is for worlds that are more dot product than network. A dot product holds the linear world in 4
factors; of the network it needs many, the more the ratings can pay for.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys.ladder.rungs import Rung, Step
from recsys.types import JsonObject
from tests.benchmarks.peers.peer import Peer, grid


@dataclass(frozen=True)
class Member:
    """A step that is trained at most ``epochs`` long, stopped on valid."""

    step: Step
    epochs: int

    @property
    def name(self) -> str:
        return self.step.rung.name


def member(name: str, title: str, family: str, epochs: int, config: JsonObject) -> Member:
    return Member(Step(Rung(name, title, {}, family=family), config), epochs)


VAE: JsonObject = {
    "factors": 16,
    "hidden": [128, 64],
    "latent": 16,
    "biases": True,
    "dot_product": 8,
    "normalisation": "layer",
    "embedding_scale": 0.01,
    "learning_rate": 2e-3,
    "learning_rate_schedule": "cosine",
    "dropout": 0.1,
    "kl_weight": 2e-3,
    "weight_decay": 3e-5,
}
START: JsonObject = {"start": "factorisation", "start_sweeps": 40, "learning_rate": 1e-3}
LINEAR = (
    member("bias", "bias", "bias", 3, {}),
    member("mf", "biased MF, variational", "mf", 16, {"factors": 6}),
    member("bayes-mf", "Bayesian MF", "bayes_mf", 8, {"factors": 5, "sweeps": 80}),
    member("vae", "hybrid VAE", "hybrid_vae", 10, VAE),
    member(
        "vae-start",
        "hybrid VAE, started from a factorisation",
        "hybrid_vae",
        6,
        VAE | START | {"start_factors": 5},
    ),
)
NONLINEAR = (
    member("bias", "bias", "bias", 3, {}),
    member("mf", "biased MF, variational", "mf", 16, {"factors": 16}),
    member("bayes-mf", "Bayesian MF", "bayes_mf", 8, {"factors": 20, "sweeps": 80}),
    member("vae", "hybrid VAE", "hybrid_vae", 10, VAE),
    member(
        "vae-start",
        "hybrid VAE, started from a factorisation",
        "hybrid_vae",
        6,
        VAE | START | {"start_factors": 16},
    ),
)
# Four settings each would take hours of SVD++: it reads a whole history for every rating.
PEERS = (
    Peer(
        "Surprise SVD",
        "surprise",
        "rate",
        grid({"model": "SVD"}, n_factors=(16, 32), n_epochs=(30, 30), reg_all=(0.05, 0.08)),
    ),
    Peer(
        "Surprise SVD++",
        "surprise",
        "rate",
        grid({"model": "SVDpp", "cache_ratings": True}, n_factors=(16,), n_epochs=(20,), reg_all=(0.05,)),
    ),
)


def members(nonlinear: float) -> tuple[Member, ...]:
    return LINEAR if nonlinear < 0.5 else NONLINEAR
