"""The peers' table on synthetic ratings with an in-repo peer, whose figures a loop computes again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.data.loading import load_dataset
from recsys.data.splits import make_split
from recsys.types import JsonObject
from tests.benchmarks.peers.__main__ import main
from tests.benchmarks.peers.peer import chosen
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
        one = json.loads(line)
        (tries if one["part"] == "try" else looks).append(one)
    best = min(tries, key=lambda one: one["figures"]["rmse"])
    assert [one["number"] for one in tries] == [0, 1]
    assert [one["settings"] for one in looks] == [best["settings"]]

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


def test_lists_are_asked_for_on_the_ranking_split(tmp_path: Path) -> None:
    only = ("--only", "popularity")
    assert run(tmp_path, *only, split="per-user") == 0
    one = json.loads(lines(tmp_path)[1])
    split = make_split(load_dataset(DATA), "per-user", seed=0)
    ratings = load_dataset(DATA).ratings
    known, test = ratings.take(np.concatenate([split.train, split.valid])), ratings.take(split.test)
    order = np.argsort(-np.bincount(known.items, minlength=30), kind="stable")
    found = []
    for user in np.unique(test.users):
        seen, wanted = known.items[known.users == user], test.items[test.users == user]
        found.append(np.isin([item for item in order if item not in seen][:10], wanted).sum() / 10)
    assert one["figures"]["precision_at_10"] == pytest.approx(np.mean(found))
    assert f"| popularity | {np.mean(found):.4f} |" in (tmp_path / "peers.md").read_text()


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
