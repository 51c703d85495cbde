"""The hybrid VAE's list head beside ALS and EASE, alone and added to their sum.

    python -m tests.benchmarks.list_head --data ml-100k --seeds 2 --json head.json
    python -m tests.benchmarks.list_head --data ml-1m --protocol strong:1000 --at-least 4 --at 100,10,20

Each family has two settings and is judged by the better one on a quarter of what is learned from. The file
is for ``tests.benchmarks.peers --ours``, which sets the same rows' peers beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.data.loading import load_dataset
from recsys.ranking.als import AlsConfig
from recsys.ranking.hybrid_vae_lists import NAME, HybridVaeListsConfig
from recsys.ranking.list_data import ListData
from recsys.ranking.list_families import LIST_FAMILIES
from recsys.ranking.list_validation import ListValidation, unseen_scores
from recsys.ranking.ranker_sum import sum_rankers
from recsys.types import JsonObject
from tests.benchmarks.list_protocol import ListCut, cut_lists
from tests.benchmarks.lists import judged, part_of

RIDGES = (0.015, 0.0067)  # of ML-100K and of ML-1M, at unobserved 0.3
SETTINGS: dict[str, tuple[Any, ...]] = {
    "als": tuple(AlsConfig(factors=48, unobserved=0.3, ridge=ridge) for ridge in RIDGES),
    "ease": LIST_FAMILIES["ease"].starts,
    NAME: tuple(HybridVaeListsConfig(unobserved=0.3, ridge=ridge) for ridge in RIDGES),
}
BLENDS = (("als", "ease"), ("als", "ease", NAME))


def ladder(cut: ListCut, *, at: Sequence[int], seed: int) -> dict[str, JsonObject]:
    """Figures of each family and blend; in a blend a member counts by its mean best score.

    Args:
        cut: What is known and what is to be found.
        at: Lengths of a list.
        seed: Of the holdout that chooses the settings, and of every fit.
    """
    validation = ListValidation.of(cut.train, shape=cut.shape, seed=seed, draws=1)
    data, histories = ListData(cut.train), ListData(cut.histories)
    rankers, shares, figures = {}, {}, {}
    for name, settings in SETTINGS.items():
        config = max(settings, key=lambda entry: validation.evaluate(name, entry).ndcg)
        rankers[name] = LIST_FAMILIES[name].fit(data, config, seed=seed)
        scores = unseen_scores(rankers[name], histories, cut.users, users_fitted=not cut.fold_in)
        shares[name] = 1 / float(scores.max(axis=1).mean())
        figures[name] = judged(rankers[name], cut, at)
    for names in BLENDS:
        blend = sum_rankers([(rankers[name], shares[name]) for name in names], family="blend")
        figures[" + ".join(names)] = judged(blend, cut, at)
    return figures


def main(words: Sequence[str] | None = None) -> int:
    """Prints a line a seed and family."""
    made = argparse.ArgumentParser(prog="python -m tests.benchmarks.list_head", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--data", default="ml-100k", help="as --data of the search (default ml-100k)")
    made.add_argument("--protocol", default="per-user", help="as tests.benchmarks.lists (default per-user)")
    made.add_argument("--at", default="10,20,100", help="lengths of a list; the first is compared in pairs")
    made.add_argument("--at-least", type=float, help="only ratings of so many stars count, as likes")
    made.add_argument("--seeds", type=int, default=1, help="so many seeds (default 1)")
    made.add_argument("--first-seed", type=int, default=0, help="the first of them (default 0)")
    made.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = made.parse_args(words)
    dataset = part_of(load_dataset(options.data), options.at_least, None)
    at = [int(word) for word in options.at.split(",")]
    rows: list[JsonObject] = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        cut = cut_lists(dataset, options.protocol, seed=seed)
        result = ladder(cut, at=at, seed=seed)
        rows.append({"seed": seed, "fingerprint": cut.fingerprint, "k": at[0], "alone": result})
        for name, entry in result.items():
            shown = "  ".join(
                f"{kind}@{k} {entry[f'{kind}_at_{k}']:.4f}" for k in at for kind in ("ndcg", "recall")
            )
            print(f"{options.protocol} {seed}: {name}: {shown}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
