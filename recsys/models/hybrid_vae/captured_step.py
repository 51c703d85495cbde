"""A training step as a CUDA graph: after a few eager steps all its kernels are launched by one call.

A graph replays fixed kernels on fixed addresses. So a batch is copied into the buffer that the step was
captured with, what changes from step to step (learning rate, KL weight) lies in tensors on the device, and
random numbers come from a generator registered with the graph, which goes on at every replay. Eager steps
before the capture are steps of the training like any other; nothing is executed twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from recsys.models.hybrid_vae.noise import Noise

EAGER_STEPS = 3  # before a capture: libraries and the optimiser's moments are set up in them
LOG = logging.getLogger(__name__)

Outputs = tuple[Tensor, ...]
Step = Callable[[Tensor], Outputs]


class GraphBackend(Protocol):
    """Where steps are run and captured."""

    def warm_up(self, step: Step, rows: Tensor) -> Outputs:
        """An eager step on the stream of the capture."""

    def capture(self, step: Step, rows: Tensor) -> tuple[Callable[[], None], Outputs]:
        """Records a step without executing it: what replays it, and the tensors that each replay fills.

        Raises RuntimeError where the step cannot be captured; it can then be run eagerly."""


class CudaGraphs:
    """Steps on a card, on a stream of their own (PyTorch documentation, "CUDA Graphs")."""

    def __init__(self, noise: Noise) -> None:
        """``noise`` is all that the steps draw random numbers from."""
        self._noise = noise
        self._stream = torch.cuda.Stream(noise.device)

    def warm_up(self, step: Step, rows: Tensor) -> Outputs:
        current = torch.cuda.current_stream(self._noise.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = step(rows)
        current.wait_stream(self._stream)
        return outputs

    def capture(self, step: Step, rows: Tensor) -> tuple[Callable[[], None], Outputs]:
        current, drawn = torch.cuda.current_stream(self._noise.device), self._noise.state()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._noise.generator)
        try:
            # Other threads may use the card meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = step(rows)
        except RuntimeError:
            self._noise.load_state(drawn)  # the generator would believe that it is still being captured
            raise
        finally:
            torch.cuda.set_stream(current)
        return graph.replay, outputs


class CapturedStep:
    """``step`` for batches of one size, replayed once it has been captured; other sizes, such as an epoch's
    last batch, run eagerly. Its outputs hold until the next call."""

    def __init__(self, step: Step, backend: GraphBackend) -> None:
        self._step, self._backend = step, backend
        self._eager = 0
        self._failed = False
        self._rows: Tensor | None = None
        self._replay: Callable[[], None] | None = None
        self._outputs: Outputs = ()

    def __call__(self, rows: Tensor) -> Outputs:
        """The step's outputs for ``rows`` (batch,). The first call's size is the one that is captured."""
        if self._rows is None:
            self._rows = rows.clone()
        if self._failed or rows.shape != self._rows.shape:
            return self._step(rows)
        self._rows.copy_(rows)
        if self._replay is None and self._eager < EAGER_STEPS:
            self._eager += 1
            return self._backend.warm_up(self._step, self._rows)
        if self._replay is None:
            try:
                self._replay, self._outputs = self._backend.capture(self._step, self._rows)
            except RuntimeError as error:
                self._failed = True
                LOG.warning("training goes on without a CUDA graph: %s", str(error).partition("\n")[0])
                return self._step(rows)
        self._replay()
        return self._outputs


def capturing(noise: Noise) -> GraphBackend | None:
    """The backend for steps on the device of ``noise``; None where they run eagerly, as on a CPU."""
    return CudaGraphs(noise) if noise.device.type == "cuda" else None
