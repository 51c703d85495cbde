"""Training of the hybrid VAE's list head (``hybrid_vae_lists.py`` says what it is)."""

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

SHARPNESS = 10.0  # of the starting decoder: ALS scores lie in 0..1, logits want a range
VALID_SHARE = 0.1  # of a judged person's ratings, held out of everything
MAX_VALID = 500  # people judged
FEWEST_JUDGED = 10  # ratings of whoever is judged
VIEWS = 4  # random parts of every history an epoch
PATIENCE = 4
LOWEST_LOG_VARIANCE, START_LOG_VARIANCE = -8.0, -4.0
State = dict[str, torch.Tensor]


class ListHead(torch.nn.Module):
    """Residual encoder on ALS user vectors (people, k), and the decoder of all items."""

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
        """Mean and log variance (people, k)."""
        hidden = torch.tanh(vectors @ self.w1 + self.b1)
        return vectors + hidden @ self.w2, (hidden @ self.w3 + self.b3).clamp(min=LOWEST_LOG_VARIANCE)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """(people, items) logits."""
        return latent @ self.decoder.T + self.offsets


def train_by_epochs(
    data: ListData, config: HybridVaeListsConfig, *, seed: int
) -> Generator[float, None, Ranker]:
    """Trains the list head.

    Args:
        data: Who rated what.
        config: See HybridVaeListsConfig.
        seed: Of the factorisation, the people left out, the parts read and the noise.

    Yields:
        NDCG@10 of the best epoch so far, after each, on people of ``data`` with a part of theirs left out.

    Returns:
        A ranker of decoder rows with a network between a person's half step and their vector.
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
    judged = np.sort(random.permutation(np.flatnonzero(lengths >= FEWEST_JUDGED))[:MAX_VALID])
    known, relevant = _without(data.rated, judged, random)
    als = fit_als(known, start, seed=seed, scale=ratings.scale)
    encoder, weight = als.arrays["factors"], als.settings["weight"]
    weighted = weighted_by(known, weight)
    head = ListHead(encoder, config.hidden, generator)
    learning = np.flatnonzero(np.diff(weighted.indptr) > 1)
    of_judged = _solved(weighted[judged], encoder, start), weighted[judged], relevant
    optimiser = torch.optim.Adam(head.parameters(), lr=config.learning_rate)
    best, best_state, stale_epochs = _ndcg(head, *of_judged), _state(head), 0
    for _ in range(config.epochs if len(learning) else 0):
        for rows in _batches(learning, config.batch_size, random):
            read, rest = _cut(weighted[rows], config.dropped, random)
            loss = _loss(head, read, rest, _solved(read, encoder, start), config.kl_weight, generator)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        ndcg, stale_epochs = _ndcg(head, *of_judged), stale_epochs + 1
        if ndcg > best or not len(judged):
            best, best_state, stale_epochs = ndcg, _state(head), 0
        yield best
        if stale_epochs >= PATIENCE:
            break
    head.load_state_dict(best_state)
    return _ranker(head, als, _solved(weighted_by(data.rated, weight), encoder, start), config)


def _solved(weighted: sp.csr_matrix, encoder: NDArray[np.float32], config: AlsConfig) -> NDArray[np.float32]:
    """(rows, k) of people with these weights of what they rated."""
    rows = AlsRows(weighted, torch.device("cpu"), width=encoder.shape[1])
    solved = rows.solve(torch.from_numpy(encoder), unobserved=config.unobserved, ridge=config.ridge)
    return np.asarray(solved.numpy())


def _without(
    rated: sp.csr_matrix, people: NDArray[np.int64], random: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """``rated`` less a part of the ratings of ``people``; and that part, (people, items)."""
    read, gone = _cut(rated[people], VALID_SHARE, random)
    owner = np.ones(rated.shape[0], dtype=np.bool_)
    owner[people] = False
    into = sp.csr_matrix(
        (np.ones(len(people)), (people, np.arange(len(people)))), (rated.shape[0], len(people))
    )
    known = (sp.diags(owner.astype(np.float32)) @ rated + into @ read).tocsr().astype(np.float32)
    known.eliminate_zeros()
    known.sort_indices()
    return known, gone


def _batches(
    people: NDArray[np.int64], size: int, random: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    for _ in range(VIEWS):
        order = random.permutation(people)
        for first in range(0, len(order), size):
            yield order[first : first + size]


def _cut(
    rows: sp.csr_matrix, share: float, random: np.random.Generator
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """``rows`` in two: what is read, and about ``share`` of each row, at least one entry of both."""
    draws = random.random(rows.nnz)
    lengths = np.diff(rows.indptr)
    owner = np.repeat(np.arange(rows.shape[0]), lengths)
    order = np.lexsort((draws, owner))
    rank = np.empty(rows.nnz, dtype=np.int64)
    rank[order] = np.arange(rows.nnz) - np.repeat(rows.indptr[:-1], lengths)
    gone = rank < np.clip(np.rint(share * lengths), 1, np.maximum(lengths - 1, 1))[owner]
    read, rest = (
        sp.csr_matrix((rows.data[side], (owner[side], rows.indices[side])), shape=rows.shape)
        for side in (~gone, gone)
    )
    return read, rest


def _loss(
    head: ListHead,
    read: sp.csr_matrix,
    rest: sp.csr_matrix,
    vectors: NDArray[np.float32],
    kl_weight: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Negative log likelihood a rating of ``rest`` plus the weighted KL, mean over people."""
    mean, log_variance = head.encode(torch.from_numpy(vectors))
    noise = torch.randn(mean.shape, generator=generator)
    logits = head(mean + noise * torch.exp(0.5 * log_variance))
    seen = torch.from_numpy(read.toarray() > 0)
    wanted = torch.from_numpy((rest.toarray() > 0).astype(np.float32))
    likely = torch.log_softmax(logits.masked_fill(seen, -1e9), dim=1)
    missed = -(likely * wanted).sum(dim=1) / wanted.sum(dim=1).clamp(min=1)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=1)
    return (missed + kl_weight * kl).mean()


def _ndcg(
    head: ListHead, vectors: NDArray[np.float32], read: sp.csr_matrix, relevant: sp.csr_matrix
) -> float:
    """NDCG@10 of lists without what was ``read``; 0 for nobody."""
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
    """Decoder rows with their offsets as one more column, and the network for ``RankerFactors.encode``."""
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
