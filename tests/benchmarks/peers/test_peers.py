"""The peers' table on synthetic ratings with an in-repo peer, whose figures a loop computes again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.data.loading import load_dataset
from recsys.data.splits import make_split
from recsys.metrics.ranking import pair_matrix
from recsys.types import JsonObject
from tests.benchmarks.list_protocol import cut_lists
from tests.benchmarks.lists import part_of
from tests.benchmarks.peers.__main__ import main
from tests.benchmarks.peers.bench import Bench
from tests.benchmarks.peers.peer import chosen
from tests.benchmarks.peers.problem import Problem
from tests.benchmarks.peers.roster import PEERS

DATA = "synthetic:users=40,items=30,ratings=560,seed=1"
SPLIT = "random,gate=off"


def run(out: Path, *more: str, split: str = SPLIT) -> int:
    return main(["--data", DATA, "--split", split, "--out", str(out), "--only", "means", *more])


def lines(out: Path) -> list[str]:
    return (out / "peers.jsonl").read_text().splitlines()


def lacking(folder: Path) -> str:
    """A Python without any installed package."""
    path = folder / "bare-python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_the_setting_is_chosen_on_valid_and_test_rmse_is_that_of_a_plain_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--tries", "2") == 0
    tries: list[JsonObject] = []
    looks: list[JsonObject] = []
    for line in lines(tmp_path)[1:]:
        entry = json.loads(line)
        (tries if entry["part"] == "try" else looks).append(entry)
    best = min(tries, key=lambda entry: entry["figures"]["rmse"])
    assert [entry["number"] for entry in tries] == [0, 1]
    assert [entry["settings"] for entry in looks] == [best["settings"]]

    dataset = load_dataset(DATA)
    split = make_split(dataset, SPLIT, seed=0)
    ratings = dataset.ratings
    known = ratings.take(np.concatenate([split.train, split.valid]))
    test = ratings.take(split.test)
    damping, mean = best["settings"]["damping"], known.values.mean()
    rest = known.values - mean
    of_items = {i: rest[known.items == i].sum() / ((known.items == i).sum() + damping) for i in range(30)}
    rest = rest - np.array([of_items[i] for i in known.items])
    of_users = {u: rest[known.users == u].sum() / ((known.users == u).sum() + damping) for u in range(40)}
    stars = [mean + of_items[i] + of_users[u] for u, i in zip(test.users, test.items, strict=True)]
    stars = np.clip(stars, ratings.scale.low, ratings.scale.high)
    wanted = float(np.sqrt(np.mean((stars - test.values) ** 2)))
    assert looks[0]["figures"]["rmse"] == pytest.approx(wanted, abs=1e-5)
    table = (tmp_path / "peers.md").read_text()
    assert f"| damped means | - | {wanted:.4f} |" in table
    assert capsys.readouterr().out == table


def test_a_cut_off_run_goes_on_where_it_was(tmp_path: Path) -> None:
    assert run(tmp_path, "--tries", "2") == 0
    whole = lines(tmp_path)
    (tmp_path / "peers.jsonl").write_text("\n".join(whole[:3]) + "\n" + whole[3][:40])
    assert run(tmp_path, "--tries", "2") == 0
    again = lines(tmp_path)
    assert again[:3] == whole[:3]
    assert len(again) == 4
    assert json.loads(again[3])["figures"] == json.loads(whole[3])["figures"]


def test_chosen_settings_alone_are_tried(tmp_path: Path) -> None:
    assert run(tmp_path, "--settings", "1,3") == 0
    tried = [json.loads(line) for line in lines(tmp_path)[1:]]
    assert [entry["settings"] for entry in tried if entry["part"] == "try"] == [
        {"damping": 2.0},
        {"damping": 0.0},
    ]


def test_lists_are_asked_for_on_the_ranking_split(tmp_path: Path) -> None:
    only = ("--only", "popularity")
    assert run(tmp_path, *only, split="per-user") == 0
    entry = json.loads(lines(tmp_path)[1])
    split = make_split(load_dataset(DATA), "per-user", seed=0)
    ratings = load_dataset(DATA).ratings
    known, test = ratings.take(np.concatenate([split.train, split.valid])), ratings.take(split.test)
    order = np.argsort(-np.bincount(known.items, minlength=30), kind="stable")
    result = []
    for user in np.unique(test.users):
        seen, wanted = known.items[known.users == user], test.items[test.users == user]
        result.append(np.isin([item for item in order if item not in seen][:10], wanted).sum() / 10)
    assert entry["figures"]["precision_at_10"] == pytest.approx(np.mean(result))
    assert f"| popularity | {np.mean(result):.4f} |" in (tmp_path / "peers.md").read_text()


def test_held_out_people_are_folded_in_from_their_histories_and_known_items_are_not_listed(
    tmp_path: Path,
) -> None:
    dataset = load_dataset(DATA)
    split = make_split(dataset, "strong:8", seed=0)
    ratings, bench = dataset.ratings, Bench(dataset, split, "rank", tmp_path)
    problem = Problem.load(bench.problems["seed"])
    fold_in, test = ratings.take(split.fold_in), ratings.take(split.test)
    assert not set(problem.users) & set(test.users)
    assert (problem.histories(binary=True) != pair_matrix(fold_in)).nnz == 0
    learned = Problem.load(bench.problems["try"])
    assert (learned.histories(binary=False) != learned.rated(binary=False)).nnz == 0

    scores = np.zeros((ratings.user_count, ratings.item_count), dtype=np.float32)
    scores[fold_in.users, fold_in.items] = 2  # known: never listed
    scores[test.users, test.items] = 1
    figures, by_person = bench.judge("seed", scores)
    assert figures["ndcg_at_10"] == figures["ndcg_at_100"] == figures["recall_at_20"] == 1
    assert by_person["ndcg_at_100"] == [1.0] * 8


def test_our_searched_blend_is_paired_with_each_peer_over_people(tmp_path: Path) -> None:
    strong = ("--only", "popularity", "--at-least", "3")
    dataset = part_of(load_dataset(DATA), 3, None)
    split = make_split(dataset, "strong:8", seed=0)
    cut = cut_lists(dataset, "strong:8", seed=0)
    ours = {"ndcg_at_10": 0.9, "by_user": [0.9] * len(cut.users)}
    lists = tmp_path / "lists.json"
    lists.write_text(
        json.dumps([{"seed": 0, "fingerprint": cut.fingerprint, "k": 10, "searched": ours, "alone": {}}])
    )
    assert run(tmp_path / "out", *strong, "--ours", str(lists), split="strong:8") == 0
    table = (tmp_path / "out" / "peers.md").read_text()
    theirs = json.loads(lines(tmp_path / "out")[1])["by_person"]["ndcg_at_10"]
    assert len(theirs) == len(np.unique(dataset.ratings.users[split.test])) == 8
    line = "**ours**: searched blend minus popularity, NDCG@10 paired over 8 people: "
    assert f"{line}{0.9 - np.mean(theirs):+.4f} (" in table
    assert run(tmp_path / "other", *strong, "--ours", str(lists), split="strong:7") == 2


def test_a_peer_that_is_not_installed_has_a_row_that_says_so(tmp_path: Path) -> None:
    assert run(tmp_path, "--python", f"means={lacking(tmp_path)}") == 0
    assert "| damped means | not installed: no numpy |" in (tmp_path / "peers.md").read_text()
    assert run(tmp_path, "--tries", "1") == 0  # and is measured once it is there
    assert "not installed" not in (tmp_path / "peers.md").read_text()


def test_a_peer_that_breaks_has_a_row_and_the_exit_status_tells(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'illegal instruction' >&2\nexit 132\n")
    broken.chmod(0o755)
    assert run(tmp_path / "out", "--python", str(broken)) == 1
    assert "failed: exit status 132: illegal instruction" in (tmp_path / "out" / "peers.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split-seed", "1"], "this run differs in fingerprint; choose another --out"),
        (["--python", "/nowhere/python"], "there is no file /nowhere/python"),
        (["--only", "netflix"], "--only netflix: no peer of that name"),
        (["--ours", "/nowhere/run"], "expected a run's folder (results.json) or a ladder's"),
        (["--tries", "0"], "--seeds and --tries must be 1 or more"),
        (["--settings", "first"], "--settings first: expected numbers from 0"),
        (["--settings", "7"], "damped means has settings 0 to 3"),
    ],
)
def test_bad_input_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert run(tmp_path, "--python", lacking(tmp_path)) == 0
    assert run(tmp_path, *arguments) == 2
    assert said in capsys.readouterr().err


def test_every_peer_has_settings_and_a_name_of_its_own() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert all(0 < len(peer.settings) <= 4 for peer in PEERS)
    assert {peer.task for peer in chosen(PEERS, "rank", "cornac, bpr")} == {"rank"}
    assert {peer.library for peer in chosen(PEERS, "rank", "cornac, bpr")} == {"cornac", "implicit"}
    assert [peer.name for peer in chosen(PEERS, "rate", "surprise svd")] == ["Surprise SVD"]
    assert len(chosen(PEERS, "rate", "surprise svd, surprise")) == 3
