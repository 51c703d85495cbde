"""Who is measured, and the settings that each may try on valid: its library's or author's own first."""

from __future__ import annotations

from tests.benchmarks.peers.peer import Peer, grid


def myfm(name: str, *, probit: bool, rich: bool) -> Peer:
    fixed = {"iterations": 300, "probit": probit, "histories": rich, "side": rich}
    return Peer(name, "myfm", "rate", grid(fixed, rank=(10, 16, 6, 24)))


# Quick ones first: an interrupted run then has more of its table.
PEERS = (
    Peer("damped means", "means", "rate", grid(damping=(5.0, 2.0, 10.0, 0.0)), seeded=False),
    Peer(
        "cornac MF",
        "cornac",
        "rate",
        grid(
            {"model": "MF"},
            k=(10, 20, 50, 50),
            max_iter=(20, 50, 100, 60),
            lambda_reg=(0.02, 0.05, 0.1, 0.1),
        ),
    ),
    Peer(
        "LensKit BiasedMF",
        "lenskit",
        "rate",
        grid(embedding_size=(50, 16, 50, 32), regularization=(0.1, 0.1, 0.3, 0.2)),
    ),
    Peer(
        "Surprise KNNBaseline, items",
        "surprise",
        "rate",
        grid({"model": "KNNBaseline"}, k=(40, 60, 100, 30), min_k=(1, 1, 1, 3)),
        seeded=False,
    ),
    Peer(
        "Surprise SVD",
        "surprise",
        "rate",
        grid(
            {"model": "SVD"},
            n_factors=(100, 50, 100, 200),
            n_epochs=(20, 40, 60, 80),
            reg_all=(0.02, 0.08, 0.1, 0.12),
        ),
    ),
    myfm("myFM regression, histories, side features", probit=False, rich=True),
    myfm("myFM ordered probit, histories, side features", probit=True, rich=True),
    myfm("myFM regression, ids", probit=False, rich=False),
    myfm("myFM ordered probit, ids", probit=True, rich=False),
    Peer(
        "Surprise SVD++",
        "surprise",
        "rate",
        grid(
            {"model": "SVDpp", "cache_ratings": True},
            n_factors=(20, 20, 50, 20),
            n_epochs=(20, 30, 30, 40),
            reg_all=(0.02, 0.08, 0.1, 0.12),
        ),
    ),
    Peer("popularity", "means", "rank", ({},), seeded=False),
    Peer(
        "cornac EASE",
        "cornac",
        "rank",
        grid(
            {"model": "EASE"},
            lamb=(500, 500, 800, 200),
            posB=(True, False, False, False),
            binary=(False, True, True, True),
        ),
        seeded=False,
    ),
    Peer(
        "implicit ALS",
        "implicit",
        "rank",
        grid(
            {"model": "als"},
            factors=(100, 32, 64, 50),
            regularization=(0.01, 1.0, 10.0, 30.0),
            alpha=(1.0, 2.0, 5.0, 10.0),
        ),
    ),
    Peer(
        "LensKit ImplicitMF",
        "lenskit",
        "rank",
        grid(
            embedding_size=(50, 32, 64, 32),
            regularization=(0.1, 1.0, 1.0, 3.0),
            weight=(40.0, 40.0, 10.0, 10.0),
        ),
    ),
    Peer(
        "implicit BPR",
        "implicit",
        "rank",
        grid(
            {"model": "bpr"},
            factors=(100, 50, 100, 50),
            iterations=(100, 100, 200, 300),
            learning_rate=(0.01, 0.02, 0.02, 0.02),
        ),
    ),
    Peer(
        "cornac BiVAE",
        "cornac",
        "rank",
        grid(
            {"model": "BiVAECF", "batch_size": 128, "act_fn": "tanh", "likelihood": "pois"},
            k=(50, 100, 50, 100),
            encoder_structure=([100], [200], [100], [200]),
            n_epochs=(500, 500, 250, 250),
        ),
    ),
    Peer(
        "cornac Mult-VAE",
        "cornac",
        "rank",
        grid(
            {"model": "VAECF", "likelihood": "mult", "act_fn": "tanh"},
            k=(10, 50, 100, 200),
            autoencoder_structure=([20], [100], [200], [600]),
            beta=(1.0, 0.2, 0.2, 0.2),
            n_epochs=(100, 50, 50, 30),
        ),
    ),
    Peer(
        "cornac RecVAE",
        "cornac",
        "rank",
        grid(
            {"model": "RecVAE", "latent_dim": 200},
            hidden_dim=(600, 200, 200, 200),
            gamma=(0.005, 0.005, 0.001, 0.005),
            n_epochs=(50, 50, 20, 20),
        ),
    ),
)
