"""Our rows: figures that a run's results.json, a ladder's measures.jsonl or the file of
``tests.benchmarks.lists --json`` already hold, of the same split.

Nothing is trained or predicted here, so nothing looks at test again.
"""

from __future__ import annotations

import json
from pathlib import Path

from recsys.errors import InputError
from recsys.metrics.rating import loss
from recsys.ranking.hybrid_vae_lists import NAME
from search.results import Results, read_results
from search.results.metrics import Metrics, ModelResult
from tests.benchmarks.ablation.rungs import LADDER
from tests.benchmarks.peers.peer import Task
from tests.benchmarks.peers.table import COLUMNS, Row

SUBJECT = "hybrid_vae"
SEARCHED = "searched blend"


def our_rows(folder: Path, fingerprint: str, task: Task) -> list[Row]:
    """Of a run's or a ladder's folder, or of a file of tests.benchmarks.lists. InputError where it is none of
    them, or is of another split."""
    if folder.suffix == ".json" and folder.is_file():
        return list_rows(folder, fingerprint) if task == "rank" else []
    if (folder / "results.json").is_file():
        results = read_results(folder)
        same_split(results.split.fingerprint, fingerprint, folder, results.split.protocol)
        return run_rows(results, task)
    ladder = folder / "measures.jsonl"
    if ladder.is_file():
        return ladder_rows(ladder, fingerprint) if task == "rate" else []
    raise InputError(
        f"--ours {folder}: expected a run's folder (results.json) or a ladder's (measures.jsonl), or the "
        "file of tests.benchmarks.lists --json"
    )


def list_rows(path: Path, fingerprint: str) -> list[Row]:
    """The searched blend and each family's best trial by validation, or the list head's ladder, of the seed
    that cut this split; the blend and the head by person."""
    try:
        rows = [row for row in json.loads(path.read_text()) if "seed" in row]
        cuts = [row["fingerprint"] for row in rows]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(f"--ours {path}: expected the file of tests.benchmarks.lists --json") from None
    if fingerprint not in cuts:
        same_split(", ".join(cut[:12] for cut in cuts), fingerprint, path, "lists")
    row = rows[cuts.index(fingerprint)]
    by_person = f"ndcg_at_{row['k']}"
    result = {SEARCHED: row["searched"]} if "searched" in row else {}
    result |= row["alone"]
    return [
        Row(
            name=f"**ours**: {name}",
            test={column: [figures[column]] for column in COLUMNS["rank"] if column in figures},
            trained_on="train, valid",
            budget="list search",
            by_person={by_person: figures["by_user"]} if name in (SEARCHED, NAME) else {},
        )
        for name, figures in result.items()
    ]


def same_split(found: str, wanted: str, folder: Path, named: str) -> None:
    if found != wanted:
        raise InputError(
            f"--ours {folder} was measured on another split ({named}, fingerprint {found[:12]}; here "
            f"{wanted[:12]}): give the same --data, --split and --split-seed"
        )


def run_rows(results: Results, task: Task) -> list[Row]:
    retrained = task == "rank" or results.plan.get("retrain_on_valid", False)
    tried = sum(results.tuning.values())

    def row(name: str, model: ModelResult) -> Row:
        test, valid = model.test or Metrics(), model.valid or Metrics()
        result = {column: getattr(test, column, None) for column in COLUMNS[task]}
        return Row(
            name=f"**ours**: {name}",
            test={column: [value] for column, value in result.items() if value is not None},
            valid=valid.rmse if task == "rate" else valid.ndcg_at_10,
            trained_on="train, valid" if retrained else "train",
            budget=f"{tried} trials, {results.seconds.get('search', 0):.0f} s",
            version=results.versions.get("movielens-breakthrough", ""),
        )

    if task == "rank":
        served = results.recommender
        return [row(f"recommender, {served.ranker}", served)] if served else []
    rows = [row(f"best single, {results.best.name}", results.best)] if results.best else []
    if results.best_hybrid_vae:
        rows.append(row(f"best hybrid VAE, {results.best_hybrid_vae.name}", results.best_hybrid_vae))
    if results.ensemble:
        rows.append(row(f"ensemble of {len(results.ensemble.members)}", results.ensemble))
    return rows


def ladder_rows(path: Path, fingerprint: str) -> list[Row]:
    """Of our subject, and of the other families, the rung that is best on valid; its test figures are of the
    model trained again on train and valid."""
    first, *rest = (json.loads(line) for line in path.read_text().splitlines() if line.endswith("}"))
    same_split(first["fingerprint"], fingerprint, path, first["split"])
    families = {rung.name: rung.family for rung in LADDER if rung.trained}
    groups: dict[bool, dict[str, list[dict[str, float]]]] = {True: {}, False: {}}
    for entry in rest:
        if entry["rung"] in families:
            group = groups[families[entry["rung"]] == SUBJECT]
            group.setdefault(entry["rung"], []).append(entry)
    return [ladder_row(rungs, families) for rungs in groups.values() if rungs]


def ladder_row(rungs: dict[str, list[dict[str, float]]], families: dict[str, str]) -> Row:
    valid = {name: sum(entry["valid"] for entry in ones) / len(ones) for name, ones in rungs.items()}
    best = min(valid, key=lambda name: valid[name])
    ones = rungs[best]
    return Row(
        name=f"**ours**: {families[best]}, the ladder's `{best}`",
        test={
            "loss": [loss(entry["test_refit"] ** 2, entry["kl"]) for entry in ones],
            "rmse": [entry["test_refit"] for entry in ones],
        },
        valid=valid[best],
        trained_on="train, valid",
        budget=f"best of {len(rungs)} rungs",
        seconds=sum(entry["seconds"] for entry in ones) / len(ones),
    )
