"""cornac: biased matrix factorisation for stars; EASE, Mult-VAE, RecVAE and BiVAE for lists.

A list model's scores are computed from histories, by the model's own encoder or item-item matrix, so that
people whom it did not learn from are folded in. RecVAE is put into evaluation mode first: cornac leaves its
input dropout on when it scores. BiVAE's user encoder is the one that its own user factors come from.
"""

from __future__ import annotations

from typing import Any

import cornac  # type: ignore[import-not-found]
import numpy as np

from tests.benchmarks.peers.problem import Array, Problem

DISTRIBUTION = "cornac"
SILENT = {"MF": {"early_stop": False}, "BiVAECF": {"use_gpu": False}, "RecVAE": {"use_gpu": False}}


def fitted(
    problem: Problem, seed: int, model: str, binary: bool, settings: dict[str, Any]
) -> tuple[Any, Any]:
    """The model and what it learned from."""
    values = np.ones(len(problem.values)) if binary else problem.values
    triples = zip(problem.users.tolist(), problem.items.tolist(), values.tolist(), strict=True)
    known = cornac.data.Dataset.from_uir(list(triples), seed=seed)
    # RecVAE ranks everybody it learns from after each epoch, for its progress bar alone.
    cornac.eval_methods.ranking_eval = lambda **_: ([0.0], [])
    made = getattr(cornac.models, model)(verbose=False, seed=seed, **SILENT.get(model, {}), **settings)
    made.fit(known)
    return made, known


def rate(problem: Problem, *, seed: int, model: str, **settings: Any) -> Array:
    made, known = fitted(problem, seed, model, False, settings)
    scores = np.full(problem.shape, np.nan, dtype=np.float32)
    items = columns_of(known)
    for user, number in known.uid_map.items():
        scores[user, items] = np.asarray(made.score(number)).ravel()[: len(items)]
    return problem.of_pairs(scores)


def rank(problem: Problem, *, seed: int, model: str, binary: bool = True, **settings: Any) -> Array:
    made, known = fitted(problem, seed, model, binary, settings)
    items = columns_of(known)
    histories = problem.histories(binary=binary)[:, items]
    scores = np.full(problem.shape, np.nan, dtype=np.float32)
    scores[:, items] = histories @ made.B if model == "EASE" else encoded(made, model, histories.toarray())
    return scores


def columns_of(known: Any) -> Array:
    """Our item rows in the order of cornac's own numbers."""
    return np.array(list(known.iid_map), dtype=np.int64)


def encoded(made: Any, model: str, histories: Array) -> Array:
    """(users, items) scores by an autoencoder."""
    import torch

    read = torch.tensor(histories, dtype=torch.float32)
    with torch.no_grad():
        if model == "RecVAE":
            scores = made.recvae_model.eval()(read, calculate_loss=False)
        elif model == "VAECF":
            scores = made.vae.decode(made.vae.encode(read)[0])
        else:
            scores = made.bivae.decode_user(made.bivae.encode_user(read)[0], made.bivae.mu_beta)
    result: Array = scores.numpy()
    return result
