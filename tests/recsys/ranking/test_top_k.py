"""The best few of many, against a full sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.ranking.top_k import top_k


@given(st.integers(0, 10_000), st.integers(1, 3000), st.integers(1, 40), st.sampled_from([1e6, 20.0, 1.0]))
@settings(max_examples=100, deadline=None)
def test_the_best_scores_in_order(seed: int, size: int, count: int, levels: float) -> None:
    random = np.random.default_rng(seed)
    scores = np.round(random.random(size) * levels).astype(np.float32)  # few levels: many ties
    scores[random.random(size) < 0.3] = -np.inf
    positions = top_k(scores, count)
    expected = np.sort(scores)[::-1][:count]
    np.testing.assert_array_equal(scores[positions], expected[expected > -np.inf])
    listed = np.lexsort((np.arange(size), -scores))[: len(positions)]  # ties to the lower position
    np.testing.assert_array_equal(positions, listed)
