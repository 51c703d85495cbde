"""CUDA graph of a training step: after a few eager steps all its kernels are launched by a single call.

A graph replays fixed kernels on fixed addresses. So a batch is copied into the buffer that the step was
captured with, values that change between steps (learning rate, KL weight) are tensors on the device, and
random numbers come from a generator that is registered with the graph and advances at every replay. The eager
steps before the capture are ordinary training steps; nothing is executed twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from recsys.models.hybrid_vae.noise import Noise

EAGER_STEPS = 3  # before a capture: they initialise libraries and the optimiser's moments
LOG = logging.getLogger(__name__)

Outputs = tuple[Tensor, ...]
Step = Callable[[Tensor], Outputs]


class GraphBackend(Protocol):
    """Runs and captures steps."""

    def warm_up(self, step: Step, rows: Tensor) -> Outputs:
        """Runs ``step`` of the batch ``rows`` eagerly, on the stream of the capture; returns its outputs."""

    def capture(self, step: Step, rows: Tensor) -> tuple[Callable[[], None], Outputs]:
        """Records a step without executing it.

        Args:
            step: To capture.
            rows: (batch,) buffer that it reads.

        Returns:
            A function that replays it, and the tensors that each replay fills.

        Raises:
            RuntimeError: The step cannot be captured; it can then be run eagerly.
        """


class CudaGraphs:
    """Steps on a GPU, on a separate stream (PyTorch documentation, "CUDA Graphs")."""

    def __init__(self, noise: Noise) -> None:
        """``noise`` is the only source of random numbers in the steps."""
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
        current, noise_state = torch.cuda.current_stream(self._noise.device), self._noise.state()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._noise.generator)
        try:
            # Other threads may use the GPU during the capture.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                outputs = step(rows)
        except RuntimeError:
            self._noise.load_state(noise_state)  # else the generator stays in its capturing state
            raise
        finally:
            torch.cuda.set_stream(current)
        return graph.replay, outputs


class CapturedStep:
    """``step`` for batches of a fixed size, captured after EAGER_STEPS; other sizes, such as an epoch's last
    batch, run eagerly. The outputs are valid until the next call."""

    def __init__(self, step: Step, backend: GraphBackend) -> None:
        self._step, self._backend = step, backend
        self._eager = 0
        self._failed = False
        self._rows: Tensor | None = None
        self._replay: Callable[[], None] | None = None
        self._outputs: Outputs = ()

    def __call__(self, rows: Tensor) -> Outputs:
        """The step's outputs for ``rows`` (batch,). Batches of the first call's size are captured."""
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
    """The backend for the device of ``noise``; None where steps run eagerly, as on a CPU."""
    return CudaGraphs(noise) if noise.device.type == "cuda" else None
