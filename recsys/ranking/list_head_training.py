"""Training of the hybrid VAE's list head (described in ``hybrid_vae_lists.py``)."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recsys.bounds import DataShape
from recsys.metrics.ranking import best_of, evaluate_lists
from recsys.ranking.als import AlsConfig, fit_als
from recsys.ranking.als_rows import AlsRows
from recsys.ranking.hybrid_vae_lists import NAME, HybridVaeListsConfig, require_safe_lists
from recsys.ranking.list_data import ListData
from recsys.ranking.ranker import Ranker
from recsys.ranking.rating_matrix import weighted_by
from recsys.types import Arrays

SHARPNESS = 10.0  # scale of the initial decoder: ALS scores are in 0..1, logits need a wider range
VALID_SHARE = 0.1  # of a validation user's ratings, held out of all fits
MAX_VALID = 500  # validation users
FEWEST_VALID = 10  # ratings of a validation user
VIEWS = 4  # random views of every history in an epoch
PATIENCE = 4
LOWEST_LOG_VARIANCE, START_LOG_VARIANCE = -8.0, -4.0
State = dict[str, torch.Tensor]


class ListHead(torch.nn.Module):
    """Residual encoder of ALS user vectors (users, k), and the decoder of all items."""

    def __init__(self, start: NDArray[np.float32], hidden: int, random: torch.Generator) -> None:
        super().__init__()
        items, width = start.shape
        first = torch.randn(width, hidden, generator=random) / np.sqrt(width)
        self.w1, self.b1 = torch.nn.Parameter(first), torch.nn.Parameter(torch.zeros(hidden))
        self.w2 = torch.nn.Parameter(torch.zeros(hidden, width))
        self.w3 = torch.nn.Parameter(torch.zeros(hidden, width))
        self.b3 = torch.nn.Parameter(torch.full((width,), START_LOG_VARIANCE))
        self.decoder = torch.nn.Parameter(torch.from_numpy(SHARPNESS * start))
        self.offsets = torch.nn.Parameter(torch.zeros(items))

    def encode(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (users, k) of the latent, for ALS ``vectors`` (users, k)."""
        hidden = torch.tanh(vectors @ self.w1 + self.b1)
        return vectors + hidden @ self.w2, (hidden @ self.w3 + self.b3).clamp(min=LOWEST_LOG_VARIANCE)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """(users, items) logits of ``latent`` (users, k)."""
        return latent @ self.decoder.T + self.offsets


def train_by_epochs(
    data: ListData, config: HybridVaeListsConfig, *, seed: int
) -> Generator[float, None, Ranker]:
    """Trains the list head.

    Args:
        data: Ratings.
        config: See HybridVaeListsConfig.
        seed: Of the factorisation, the validation users, the views and the noise.

    Yields:
        After each epoch, the best NDCG@10 so far on held-out ratings of the validation users.

    Returns:
        A ranker of decoder rows, with a network from a user's half step to their vector.
    """
    ratings = data.ratings
    require_safe_lists(config, DataShape(ratings.user_count, ratings.item_count))
    start = AlsConfig(
        factors=config.latent,
        unobserved=config.unobserved,
        ridge=config.ridge,
        user_damping=config.user_damping,
        liking=config.liking,
    )
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    lengths = np.diff(data.rated.indptr)
    valid_users = np.sort(random.permutation(np.flatnonzero(lengths >= FEWEST_VALID))[:MAX_VALID])
    known, relevant = _hold_out(data.rated, valid_users, random)
    als = fit_als(known, start, seed=seed, scale=ratings.scale)
    encoder, weight = als.arrays["factors"], als.settings["weight"]
    weighted = weighted_by(known, weight)
    head = ListHead(encoder, config.hidden, generator)
    learning = np.flatnonzero(np.diff(weighted.indptr) > 1)
    validation = _half_step(weighted[valid_users], encoder, start), weighted[valid_users], relevant
    optimiser = torch.optim.Adam(head.parameters(), lr=config.learning_rate)
    best, best_state, stale_epochs = _ndcg(head, *validation), _state(head), 0
    for _ in range(config.epochs if len(learning) else 0):
        for rows in _batches(learning, config.batch_size, random):
            read, targets = _split_rows(weighted[rows], config.dropped, random)
            loss = _loss(head, read, targets, _half_step(read, encoder, start), config.kl_weight, generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        ndcg, stale_epochs = _ndcg(head, *validation), stale_epochs + 1
        if ndcg > best or not len(valid_users):
            best, best_state, stale_epochs = ndcg, _state(head), 0
        yield best
        if stale_epochs >= PATIENCE:
            break
    head.load_state_dict(best_state)
    return _ranker(head, als, _half_step(weighted_by(data.rated, weight), encoder, start), config)


def _half_step(
    weighted: sp.csr_matrix, encoder: NDArray[np.float32], config: AlsConfig
) -> NDArray[np.float32]:
    """(rows, k) ALS vectors of users with ``weighted`` ratings (rows, items)."""
    rows = AlsRows(weighted, torch.device("cpu"), width=encoder.shape[1])
    solved = rows.solve(torch.from_numpy(encoder), unobserved=config.unobserved, ridge=config.ridge)
    return np.asarray(solved.numpy())


def _hold_out(
    rated: sp.csr_matrix, users: NDArray[np.int64], random: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """``rated`` without VALID_SHARE of the ratings of ``users``; and those, (len(users), items)."""
    remaining, held_out = _split_rows(rated[users], VALID_SHARE, random)
    unchanged = np.ones(rated.shape[0], dtype=np.bool_)
    unchanged[users] = False
    selector = sp.csr_matrix(
        (np.ones(len(users)), (users, np.arange(len(users)))), (rated.shape[0], len(users))
    )
    known = (sp.diags(unchanged.astype(np.float32)) @ rated + selector @ remaining).tocsr().astype(np.float32)
    known.eliminate_zeros()
    known.sort_indices()
    return known, held_out


def _batches(users: NDArray[np.int64], size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(VIEWS):
        order = random.permutation(users)
        for first in range(0, len(order), size):
            yield order[first : first + size]


def _split_rows(
    rows: sp.csr_matrix, share: float, random: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Splits about ``share`` of each row off, with at least one entry in both: the remaining, the others."""
    draws = random.random(rows.nnz)
    lengths = np.diff(rows.indptr)
    owner = np.repeat(np.arange(rows.shape[0]), lengths)
    order = np.lexsort((draws, owner))
    rank = np.empty(rows.nnz, dtype=np.int64)
    rank[order] = np.arange(rows.nnz) - np.repeat(rows.indptr[:-1], lengths)
    split = rank < np.clip(np.rint(share * lengths), 1, np.maximum(lengths - 1, 1))[owner]
    remaining, others = (
        sp.csr_matrix((rows.data[entries], (owner[entries], rows.indices[entries])), shape=rows.shape)
        for entries in (~split, split)
    )
    return remaining, others


def _loss(
    head: ListHead,
    read: sp.csr_matrix,
    targets: sp.csr_matrix,
    vectors: NDArray[np.float32],
    kl_weight: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Negative log likelihood per rating of ``targets`` plus the weighted KL, mean over users."""
    mean, log_variance = head.encode(torch.from_numpy(vectors))
    noise = torch.randn(mean.shape, generator=generator)
    logits = head(mean + noise * torch.exp(0.5 * log_variance))
    seen = torch.from_numpy(read.toarray() > 0)
    target = torch.from_numpy((targets.toarray() > 0).astype(np.float32))
    log_likelihood = torch.log_softmax(logits.masked_fill(seen, -1e9), dim=1)
    misfit = -(log_likelihood * target).sum(dim=1) / target.sum(dim=1).clamp(min=1)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=1)
    return (misfit + kl_weight * kl).mean()


def _ndcg(
    head: ListHead, vectors: NDArray[np.float32], read: sp.csr_matrix, relevant: sp.csr_matrix
) -> float:
    """NDCG@10 of lists without the items that were ``read``; 0 without users."""
    if not len(vectors):
        return 0.0
    with torch.no_grad():
        scores = head(head.encode(torch.from_numpy(vectors))[0]).numpy()
    scores[read.nonzero()] = -np.inf
    return evaluate_lists(best_of(scores, 10), relevant.astype(np.bool_)).ndcg


def _state(head: ListHead) -> State:
    return {name: value.detach().clone() for name, value in head.state_dict().items()}


def _ranker(
    head: ListHead, als: Ranker, vectors: NDArray[np.float32], config: HybridVaeListsConfig
) -> Ranker:
    """Decoder rows with their offsets as the last column, and the network for ``RankerFactors.encode``."""
    state = {name: value.numpy() for name, value in head.state_dict().items()}
    with torch.no_grad():
        mean, _ = head.encode(torch.from_numpy(vectors))
    width = config.latent + 1
    arrays: Arrays = {
        "factors": np.column_stack([state["decoder"], state["offsets"]]),
        "gram": np.zeros((width, width), dtype=np.float32),
        "users": np.column_stack([mean.numpy(), np.ones(len(mean), dtype=np.float32)]),
        "network_0_items": als.arrays["factors"],
        "network_0_gram": als.arrays["gram"],
        **{f"network_0_{name}": state[name] for name in ("w1", "b1", "w2")},
    }
    block = {
        "width": width,
        "share": 1.0,
        "weight": als.settings["weight"],
        "ridge": als.settings["ridge"],
        "network": "network_0",
    }
    return Ranker(NAME, {"config": asdict(config), "blocks": [block]}, arrays)
