"""The cost target is judged only where an hour has a price."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.results import read_results
from search.results.targets import judge
from tests.search.made_runs import make_run


@pytest.mark.parametrize(("price", "verdict"), [(0.0, "not measured"), (0.5, "met")])
def test_a_run_without_a_price_has_no_cost(tmp_path: Path, price: float, verdict: str) -> None:
    make_run(tmp_path, trials=2).write()
    results = read_results(tmp_path)
    budget = results.budget.model_copy(update={"price_per_hour_usd": price})
    cost = next(one for one in judge(results.model_copy(update={"budget": budget})) if one.name == "Cost")
    assert cost.verdict == verdict
