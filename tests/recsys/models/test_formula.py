"""The owner's formula stays what it is whatever options come: its parameters, its loss, its first steps."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.network import HybridVae
from recsys.models.hybrid_vae.noise import Noise
from recsys.models.hybrid_vae.trainer import HybridVaeTrainer
from recsys.models.optim.device import mixed_precision
from recsys.seeds import derive_seed
from tests.small_ratings import training_data

DATA = training_data()
CPU = torch.device("cpu")


class AsWritten(nn.Module):
    """Section 1 of the facts in plain torch: embeddings, encoder, mu and logvar, decoder, sigmoid."""

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(users, 150), nn.Embedding(items, 150)
        self.encoder = self.stack(300, 512, 256, 128)
        self.mu, self.logvar = nn.Linear(128, 64), nn.Linear(128, 64)
        self.decoder = nn.Sequential(self.stack(64, 128, 256, 512), nn.Linear(512, 1))

    @staticmethod
    def stack(*widths: int) -> nn.Sequential:
        pairs = itertools.pairwise(widths)
        blocks = [[nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()] for a, b in pairs]
        return nn.Sequential(*(layer for block in blocks for layer in block))

    def forward(self, users: Tensor, items: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        read = self.encoder(torch.cat([self.user(users), self.item(items)], dim=1))
        mu, logvar = self.mu(read), self.logvar(read)
        out = self.decoder(mu + epsilon * torch.exp(0.5 * logvar)).squeeze(1)
        return 0.5 + 4.5 * torch.sigmoid(out), mu, logvar


def copied(network: HybridVae) -> AsWritten:
    """The same numbers in the module above: both list their parameters in the formula's order."""
    plain = AsWritten(DATA.train.user_count, DATA.train.item_count)
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
            assert ours.shape == theirs.shape
            theirs.copy_(ours)
    return plain


def test_the_formula_has_the_formulas_tensors() -> None:
    network = HybridVae(HybridVaeConfig(), DATA.train, CPU)
    copied(network)
    tables = (DATA.train.user_count + DATA.train.item_count) * 150
    layers = 300 * 512 + 512 * 256 + 256 * 128 + 2 * 128 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512
    biases_and_norms = 3 * 2 * (512 + 256 + 128) + 2 * 64 + 1
    assert sum(entry.numel() for entry in network.parameters()) == tables + layers + biases_and_norms


def test_the_first_steps_of_the_formula_are_those_of_plain_torch() -> None:
    # Dropout alone draws other bytes than torch does: it is off here, and has its own tests.
    config = HybridVaeConfig(dropout=0.0)
    trainer = HybridVaeTrainer(config, DATA, epochs=100, seed=5, device=CPU)
    plain = copied(trainer.network)
    optimizer = torch.optim.Adam(plain.parameters(), lr=5e-4, weight_decay=3e-5)
    noise = Noise(derive_seed(5, "noise"), CPU)
    users, items = (torch.from_numpy(rows).long() for rows in (DATA.train.users, DATA.train.items))
    values = torch.from_numpy(DATA.train.values)
    assert len(values) < 2048  # one batch an epoch
    for step in range(4):
        messages = trainer.train_epoch()["train_loss"]
        rows = noise.order(len(values))
        epsilon = noise.normal(torch.zeros(len(values), 64))
        with mixed_precision(CPU):
            stars, mu, logvar = plain(users[rows], items[rows], epsilon)
            kl = (-0.5 * (1 + logvar - mu.square() - logvar.exp())).mean()
            loss = (stars - values[rows]).square().mean() + 0.01 * kl
        # Adam makes full steps of gradients that are rounding alone, and threads round differently: weights
        # part, losses a little more with each step.
        assert messages == pytest.approx(loss.item(), rel=2e-3 * 2**step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
