"""The network that predicts: averaged weights where there are any, batch statistics that fit them.

BatchNorm's running statistics belong to other weights than the averaged ones, and with
``batch_recalibrated`` they are also taken again without dropout and latent noise: gathered under dropout
they are wrong once it is off (measured on ML-100K: rmse 1.384 as gathered, 1.040 recalibrated).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.hybrid_vae.history import Pairs
from recsys.models.hybrid_vae.network import HybridVae
from recsys.models.hybrid_vae.noise import Noise

# Pairs predicted at once. On a CPU no more than a training step holds, so that evaluation is never what
# runs out of memory; on a GPU fewer, larger launches.
BATCH = {"cpu": 2048, "cuda": 16_384}


def evaluation_network(
    network: HybridVae, weights: Sequence[Tensor] | None, sample: Pairs, *, seed: int
) -> HybridVae:
    """``network`` itself where nothing differs, else a copy with ``weights`` and fresh statistics.

    ``sample`` are training pairs, 2 or more, over which statistics are taken; ``seed`` is for their noise.
    """
    recalibrated = network.config.normalisation == "batch_recalibrated"
    if weights is None and not recalibrated:
        return network
    # Histories' matrices are constant and large: the copy shares them.
    memo = {id(matrix): matrix for matrix in constant_tensors(network)}
    copied = copy.deepcopy(network, memo)
    if weights is not None:
        with torch.no_grad():
            for parameter, weight in zip(copied.parameters(), weights, strict=True):
                parameter.copy_(weight)
    device = network.user_embedding.device
    _take_statistics(copied, sample, None if recalibrated else Noise(seed, device))
    return copied


def constant_tensors(network: HybridVae) -> list[Tensor]:
    if network.config.history == "none":
        return []
    sides = (network.user_history, network.item_history)
    return [matrix for side in sides for pair in side.matrices for matrix in pair if matrix is not None]


@torch.no_grad()
def _take_statistics(network: HybridVae, sample: Pairs, noise: Noise | None) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
    network.train()
    sums = network.sums()
    rows = torch.arange(len(sample), device=sample.users.device)
    parts = [part for part in rows.split(BATCH[rows.device.type]) if len(part) > 1]
    for number, part in enumerate(parts):
        for norm in norms:  # the plain mean over batches; momentum None would read a count from the device
            norm.momentum = 1 / (number + 1)
        network(sample.take(part), sums, noise)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
