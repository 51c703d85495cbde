"""Cheap dropout is still dropout: shares, expectations, gradients, independence, a state that goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.models.hybrid_vae.noise import Noise, dropout, threshold

CPU = torch.device("cpu")


def test_bytes_are_even() -> None:
    counts = np.bincount(Noise(1, CPU).bytes(1000, 1000).numpy().ravel(), minlength=256)
    # Chi-squared with 255 degrees of freedom: 99.99% lie below 343.
    expected = 1e6 / 256
    assert float((np.square(counts - expected) / expected).sum()) < 343


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.6])
def test_the_share_dropped_and_the_expectation(share: float) -> None:
    x = torch.ones(2000, 500)
    y = dropout(x, share, Noise(2, CPU))
    kept = (y > 0).float().mean().item()
    assert kept == pytest.approx(1 - share, abs=0.003 + 1 / 512)
    assert y.mean().item() == pytest.approx(1, abs=0.004)
    assert abs(np.corrcoef((y[:, 0] > 0).numpy(), (y[:, 1] > 0).numpy())[0, 1]) < 0.1


def test_gradients_follow_the_mask_and_the_rectifier() -> None:
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = dropout(x, 0.5, Noise(3, CPU), rectify=True)
    y.sum().backward()
    assert x.grad is not None
    open_ = y.detach() > 0
    assert not open_[x.detach() <= 0].any()
    torch.testing.assert_close(x.grad, torch.where(open_, 256 / (256 - threshold(0.5)), 0.0))
    torch.testing.assert_close(dropout(x, 0.5, None, rectify=True), torch.relu(x))


def test_the_state_goes_on() -> None:
    first, second = Noise(4, CPU), Noise(5, CPU)
    first.bytes(13)
    first.order(7)
    second.load_state(first.state())
    for _ in range(2):
        assert torch.equal(first.bytes(3, 5), second.bytes(3, 5))
        assert torch.equal(first.order(50), second.order(50))
        assert torch.equal(first.normal(torch.zeros(9)), second.normal(torch.zeros(9)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.999])
@pytest.mark.parametrize("rectify", [False, True])
def test_values_and_gradients_are_the_masks_exactly(dtype: torch.dtype, share: float, rectify: bool) -> None:
    x = torch.randn(200, 33, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
    gradient = torch.randn(200, 33, generator=torch.Generator().manual_seed(2)).to(dtype)
    cut = threshold(share)
    keep = Noise(7, CPU).bytes(200, 33) >= cut
    if rectify:
        keep &= x.detach() > 0
    y = dropout(x, share, Noise(7, CPU), rectify=rectify)
    y.backward(gradient)
    for actual, whole in ((y, x), (x.grad, gradient)):
        expected = torch.where(keep, (whole * 1).mul(256 / (256 - cut)), torch.zeros((), dtype=dtype))
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
