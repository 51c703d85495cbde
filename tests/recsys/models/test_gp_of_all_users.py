"""Every user's process in one go against the regression of one user, and a full matrix solved plainly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.models.bayes_mf import row_groups
from recsys.models.item_gp import all_users
from recsys.models.item_gp.all_users import regress_all
from recsys.models.item_gp.item_vectors import ItemVectors
from recsys.models.item_gp.process import Kernel, regress

CPU = torch.device("cpu")
USERS, ITEMS = 7, 12


@pytest.mark.parametrize("smooth", [0.0, 0.7])
def test_weights_are_those_of_each_user_alone(smooth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    users, items = np.nonzero(random.random((USERS, ITEMS)) < random.random(USERS)[:, None])
    values = random.normal(3, 1, len(users)).astype(np.float32)
    vectors = ItemVectors(
        random.normal(0, 0.5, (ITEMS, 4)).astype(np.float16),
        random.normal(0, 1, (ITEMS, 3)).astype(np.float32),
        random.random(USERS).astype(np.float32) + 0.3,
        random.random(ITEMS).astype(np.float32) + 0.3,
    )
    traits, kernel = random.normal(0, 1, (USERS, 3)).astype(np.float32), Kernel(smooth, 0.4)
    monkeypatch.setitem(row_groups.ENTRIES, "cpu", 30)
    monkeypatch.setitem(all_users.COVARIANCES, "cpu", 40)  # one to ten users of a group together
    weights = regress_all(kernel, vectors, traits, users=users, items=items, values=values, device=CPU)
    for user in range(USERS):
        own = users == user
        rated = items[own]
        beyond = values[own] - vectors.prior[rated] @ traits[user]
        noise = vectors.user_noise[user] * vectors.item_noise[rated]
        alone = regress(kernel, vectors.items[rated].astype(np.float32), beyond, noise)
        np.testing.assert_allclose(weights[own], alone, atol=2e-4)
    broken = replace(vectors, item_noise=np.full(ITEMS, np.nan, np.float32))
    with pytest.raises(FloatingPointError, match="not finite"):
        regress_all(kernel, broken, traits, users=users, items=items, values=values, device=CPU)
