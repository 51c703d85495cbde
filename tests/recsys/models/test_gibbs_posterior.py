"""The batched sampler has the posterior of the plain one: moments over several seeds, cutpoints included."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.models.bayes_mf import row_groups
from recsys.models.bayes_mf.config import BayesMfConfig
from recsys.models.bayes_mf.sampler import Sampler
from tests.recsys.models.reference_gibbs import ReferenceSampler
from tests.recsys.models.test_bayes_mf import world

SEEDS, SWEEPS, BURN_IN = 4, 200, 60


def moments(kind: type[Sampler] | type[ReferenceSampler], output: str, seed: int) -> np.ndarray:
    """Posterior means of what is identified: mean and spread of scores, and gaps of the cutpoints and where
    they lie among the scores (or the noise precision)."""
    data = world()
    config = BayesMfConfig(factors=2, output=output)  # type: ignore[arg-type]
    sampler = kind(config, data, seed=seed)
    rows = []
    for sweep in range(SWEEPS):
        sampler.sweep()
        if sweep < BURN_IN:
            continue
        score = sampler.score if isinstance(sampler, ReferenceSampler) else sampler.state()["score"]
        rated = np.log(sampler.users.precisions).std(), np.log(sampler.items.precisions).std()
        if sampler.cutpoints is None:
            own = [sampler.precision, score.std()]
        else:
            cuts = sampler.cutpoints.values
            own = [*(cuts - score.mean()), *np.diff(cuts), score.std()]
        rows.append([*own, *rated])
    return np.asarray(np.mean(rows, axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["ordinal", "gaussian"])
def test_the_posterior_is_the_plain_samplers(output: str) -> None:
    batched = np.array([moments(Sampler, output, seed) for seed in range(SEEDS)])
    plain = np.array([moments(ReferenceSampler, output, seed) for seed in range(10, 10 + SEEDS)])
    spread = np.sqrt((batched.var(axis=0, ddof=1) + plain.var(axis=0, ddof=1)) / SEEDS)
    difference = np.abs(batched.mean(axis=0) - plain.mean(axis=0))
    # Four and a half standard errors, and 3% of the value for where four seeds happen to agree.
    assert np.all(difference < 4.5 * spread + 0.03 * np.abs(plain.mean(axis=0))), (difference, spread)


@pytest.mark.parametrize("output", ["ordinal", "gaussian"])
def test_neither_threads_nor_groups_change_a_chain(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = world(), BayesMfConfig(factors=2, output=output)  # type: ignore[arg-type]

    def chain() -> dict[str, np.ndarray]:
        sampler = Sampler(config, data, seed=3)
        for _ in range(3):
            sampler.sweep()
        return sampler.state()

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        once = chain()
        monkeypatch.setitem(row_groups.ENTRIES, "cpu", 100)
        grouped = chain()
        torch.set_num_threads(3)
        threaded = chain()
    finally:
        torch.set_num_threads(threads)
    for name, array in once.items():
        np.testing.assert_array_equal(threaded[name], grouped[name], err_msg=name)
        np.testing.assert_allclose(grouped[name], array, rtol=2e-3, atol=2e-3, err_msg=name)
