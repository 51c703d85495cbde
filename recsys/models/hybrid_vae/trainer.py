"""Training of the hybrid VAE: minibatches from tensors on the device, and a fused Adam.

A step never waits for the device: sums and the largest gradient norm are tensors until the epoch ends, and
on a GPU steps are replays of a CUDA graph (``captured_step.py``). Weight decay is coupled into Adam's
gradient, as in the formula, so it also shrinks rows that a batch does not read; in large tables on a CPU
those are updated when they are next read (``row_adam.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.data.ratings import Ratings
from recsys.data.split import TrainingData
from recsys.models.base import ModelArtifact
from recsys.models.hybrid_vae import states
from recsys.models.hybrid_vae.batch_history import SAMPLE as SAMPLE_OF_AN_ITEM
from recsys.models.hybrid_vae.batch_history import BatchMatrix
from recsys.models.hybrid_vae.batches import PairBuilder
from recsys.models.hybrid_vae.captured_step import CapturedStep, GraphBackend, Outputs, capturing
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.hybrid_vae.evaluation_network import BATCH, evaluation_network
from recsys.models.hybrid_vae.export import export
from recsys.models.hybrid_vae.feature_prior import FeaturePrior
from recsys.models.hybrid_vae.losses import kl_by_dimension, kl_penalty
from recsys.models.hybrid_vae.network import HybridVae, Sums
from recsys.models.hybrid_vae.noise import Noise
from recsys.models.hybrid_vae.step_schedules import averaging_from, kl_weight, learning_rate
from recsys.models.hybrid_vae.warm_start import WarmStart, fit_warm_start
from recsys.models.optim.averaging import Average
from recsys.models.optim.device import mixed_precision, tensor_cores
from recsys.models.optim.row_adam import RowAdam, cheaper_by_row
from recsys.models.optim.schedules import Plateau
from recsys.seeds import derive_seed
from recsys.types import Arrays

# Pairs over which batch statistics are measured.
SAMPLE = 200_000
# Ratings that the noise variance is estimated from, at every new best epoch: within 3%.
NOISE_SAMPLE = 2_000
EMBEDDINGS = (0, 1)  # indices of the users' and items' tables in the weights


class HybridVaeTrainer:
    """Trains a hybrid VAE. ``epochs`` is the planned length, which schedules scale with; ``start`` is the
    factorisation to start from, fitted here if it is configured and not given."""

    def __init__(
        self,
        config: HybridVaeConfig,
        data: TrainingData,
        *,
        epochs: int,
        seed: int,
        device: torch.device,
        start: WarmStart | None = None,
    ) -> None:
        self.config, self.epochs, self.seed, self.device = config, epochs, seed, device
        self.train = train = data.train
        if config.start != "random" and start is None:
            start = fit_warm_start(config, data, seed=derive_seed(seed, "start"), device=device)
        prior = FeaturePrior(data, config.latent) if config.latent_prior == "features" else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "weights"))
            self.network = HybridVae(config, train, device, start, prior).to(device)
        self.noise = Noise(derive_seed(seed, "noise"), device)
        self._graphs: GraphBackend | None = capturing(self.noise)
        self.plateau = Plateau(config.plateau_patience)
        self.weights = list(self.network.parameters())
        rate = config.learning_rate
        self.optimizer = torch.optim.Adam(
            self.weights,
            lr=rate if self._graphs is None else torch.tensor(rate, device=device),  # a graph copies numbers
            weight_decay=config.weight_decay,
            fused=True,
            capturable=self._graphs is not None,
        )
        self._kl_weight = torch.zeros((), device=device)
        self._captured: tuple[HybridVaeConfig, CapturedStep] | None = None
        self.ema = Average(self.weights) if config.ema_decay > 0 else None
        self.swa = Average(self.weights) if config.swa_start < 1 else None
        self.row_adams = self._row_adams()
        self.epoch = 0
        self.epoch_steps: int | None = None
        self.left_out = None if start is None else start.left_out
        self._make_pairs = PairBuilder(self.network, train, device, self.left_out)
        self._pairs = self._make_pairs(train)
        self._values = torch.from_numpy(np.ascontiguousarray(train.values)).to(device)
        self._labels: Tensor | None = None
        if self.network.ordinal is not None:
            self._labels = torch.from_numpy(self.network.ordinal.labels(train.values)).to(device)
        sample = np.random.default_rng(derive_seed(seed, "sample")).permutation(len(train))[:SAMPLE]
        self._sample = self._pairs.take(torch.from_numpy(np.sort(sample)).to(device))
        self._predictor: HybridVae | None = None
        self._sums: Sums | None = None  # of the predictor's histories
        self._kl: tuple[Ratings, Tensor] | None = None  # the last predicted ratings, their KL by dimension

    def _row_adams(self) -> tuple[RowAdam, RowAdam] | None:
        """The optimisers of the embeddings where steps by row are cheaper than dense ones, else None."""
        users, items = (self.weights[index] for index in EMBEDDINGS)
        if not cheaper_by_row(users.numel() + items.numel(), self.device):
            return None
        averages = [None if self.ema is None else self.ema.tensors[index] for index in EMBEDDINGS]
        return RowAdam(users, self.optimizer, averages[0]), RowAdam(items, self.optimizer, averages[1])

    def flush(self) -> None:
        """Applies the embeddings' pending steps, as between epochs."""
        for table in self.row_adams or ():
            table.flush()

    @property
    def _training(self) -> states.TrainingState:
        return states.TrainingState(
            self.network,
            self.weights,
            self.optimizer,
            self.ema,
            self.swa,
            self.plateau,
            self.noise,
            self.left_out,
        )

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.weights)

    def train_epoch(self) -> dict[str, float]:
        self.network.train()
        self._predictor = self._kl = None
        batches = self.noise.order(len(self._values)).split(self.config.batch_size)
        # A last batch of a single rating has no batch statistics; the order changes with the epoch.
        batches = tuple(rows for rows in batches[: self.epoch_steps] if len(rows) > 1)
        squared = torch.zeros((), device=self.device)
        divergence, norm = squared.clone(), squared.clone()
        with tensor_cores(self.device):
            for index, (rows, histories) in enumerate(zip(batches, self._histories(batches), strict=True)):
                error, kl, gradient = self._step(rows, self.epoch + index / len(batches), histories)
                squared += error * len(rows)
                divergence += kl
                norm = torch.maximum(norm, torch.nan_to_num(gradient, nan=torch.inf))
        self.flush()
        self.epoch += 1
        if self.swa is not None and self.epoch > averaging_from(self.config, self.epochs):
            self.swa.add(self.weights)
        trained = sum(len(rows) for rows in batches)
        kl_mean = divergence.item() / max(len(batches), 1)
        return {
            "train_loss": squared.item() / max(trained, 1) + 0.01 * kl_mean,
            "gradient_norm": norm.item(),
            "kl_weight": kl_weight(self.config, self.epoch / self.epochs),
            "learning_rate": learning_rate(
                self.config, epoch=self.epoch - 1e-9, epochs=self.epochs, plateau=self.plateau
            ),
        }

    def _histories(self, batches: Sequence[Tensor]) -> Iterator[tuple[BatchMatrix, BatchMatrix] | None]:
        """The ratings of each batch's rows, built in a thread one step ahead; None where sums are full."""
        by_row = self.network.by_row
        if by_row is None:
            yield from (None for _ in batches)
            return
        users, items = by_row

        def build(index: int) -> tuple[BatchMatrix, BatchMatrix]:
            random = np.random.default_rng(derive_seed(self.seed, "histories", self.epoch, index))
            pairs = batches[index].cpu().numpy()
            return (
                users.batch(self.train.users[pairs], pairs, most=None, random=random),
                items.batch(self.train.items[pairs], pairs, most=SAMPLE_OF_AN_ITEM, random=random),
            )

        with ThreadPoolExecutor(1, thread_name_prefix="histories") as pool:
            upcoming = pool.submit(build, 0)
            for index in range(len(batches)):
                current, following = upcoming, index + 1
                if following < len(batches):
                    upcoming = pool.submit(build, following)
                yield current.result()

    def _step(self, rows: Tensor, epoch: float, histories: tuple[BatchMatrix, BatchMatrix] | None) -> Outputs:
        """A step on a batch: its mse, its KL and the gradient norm before clipping, on the device."""
        config = self.config
        rate = learning_rate(config, epoch=epoch, epochs=self.epochs, plateau=self.plateau)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._kl_weight.fill_(kl_weight(config, epoch / self.epochs))
        captured = self._captured_step()
        outputs = self._descend(rows, histories) if captured is None else captured(rows)
        average_weight, tables = 0.0, self.row_adams or ()
        if self.ema is not None:
            average_weight = self.ema.follow(
                self.weights, config.ema_decay, apart=EMBEDDINGS if tables else ()
            )
        for table in tables:
            table.step(rate, average_weight)
        return outputs

    def _captured_step(self) -> CapturedStep | None:
        """The step as a CUDA graph, where steps are captured; a new one after a change of the config."""
        if self._graphs is None or self.network.by_row is not None or self.row_adams is not None:
            return None
        if self._captured is None or self._captured[0] is not self.config:
            self._captured = (self.config, CapturedStep(self._descend, self._graphs))
        return self._captured[1]

    def _descend(self, rows: Tensor, histories: tuple[BatchMatrix, BatchMatrix] | None = None) -> Outputs:
        """Gradients of a batch and the dense optimiser's step; values that vary between steps are tensors."""
        config, network = self.config, self.network
        # In float32: sparse products have no bfloat16.
        sums = network.sums() if histories is None else network.batch_sums(histories)
        pairs = self._pairs.take(rows)
        embedded = None
        if self.row_adams is not None:
            users, items = self.row_adams
            embedded = users.read(pairs.users), items.read(pairs.items)
        with mixed_precision(self.device):
            output = network(pairs, sums, self.noise, embedded)
            error = (output.stars - self._values[rows]).square().mean()
            misfit = error
            if self.network.ordinal is not None and self._labels is not None:
                misfit = self.network.ordinal.surprise(output.link, pairs.users, self._labels[rows])
            by_dimension = kl_by_dimension(output.mean, output.log_variance, output.prior)
            loss = misfit + self._kl_weight * kl_penalty(by_dimension, config.free_bits)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = config.gradient_clip if config.gradient_clip > 0 else torch.inf
        tables = self.row_adams or ()
        norm = torch.nn.utils.clip_grad_norm_([*self.weights, *(table.leaf for table in tables)], limit)
        self.optimizer.step()
        return error.detach(), by_dimension.detach().mean(), norm.detach()

    def predictor(self) -> HybridVae:
        """The network that predicts now, in evaluation mode, averaged and recalibrated if configured."""
        if self._predictor is None:
            self.flush()
            averaged = None
            if self.swa is not None and self.swa.count > 0:
                averaged = self.swa.tensors
            elif self.ema is not None and self.ema.count > 0:
                averaged = self.ema.tensors
            seed = derive_seed(self.seed, "statistics", self.epoch)
            self._predictor = evaluation_network(self.network, averaged, self._sample, seed=seed).eval()
            with torch.no_grad():
                self._sums = self._predictor.sums()
        return self._predictor

    @torch.no_grad()
    def predict(self, ratings: Ratings) -> NDArray[np.float32]:
        network, pairs = self.predictor(), self._make_pairs(ratings)
        rows = torch.arange(len(pairs), device=self.device)
        total = torch.zeros(self.config.latent, device=self.device)
        batches = [torch.zeros(0, device=self.device)]
        for batch in rows.split(BATCH[self.device.type]):
            output = network(pairs.take(batch), self._sums, None)
            batches.append(output.stars)
            total += kl_by_dimension(output.mean, output.log_variance, output.prior) * len(batch)
        self._kl = (ratings, total / max(len(pairs), 1))
        stars: NDArray[np.float32] = torch.cat(batches).float().cpu().numpy()
        return stars

    @torch.no_grad()
    def latent_statistics(self, ratings: Ratings) -> tuple[float, float]:
        if self._kl is None or self._kl[0] is not ratings:  # else the last prediction has computed it
            self.predict(ratings)
        assert self._kl is not None
        by_dimension = self._kl[1]
        return by_dimension.mean().item(), (by_dimension > 0.01).float().mean().item()

    def on_validation(self, loss: float) -> None:
        self.plateau.on_validation(loss)

    def state(self) -> Arrays:
        self.flush()
        return states.collect(self._training, epoch=self.epoch)

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.epoch = states.restore(self._training, state)
        for table in self.row_adams or ():
            table.reset()
        self._predictor = self._kl = self._captured = None  # the optimiser has new tensors

    def export(self) -> ModelArtifact:
        sample = replace(self.train.thinned(NOISE_SAMPLE), times=None)  # at the newest time, as when serving
        error = float(np.square(self.predict(sample) - sample.values).mean())
        # Training ratings are fitted better than a new user's will be: the deviation is half a star at least.
        return export(self.predictor(), self.train, noise_variance=max(error, 0.25))
