"""A mistyped request for a cluster ends with 2 here: nothing rented, no request sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters import state as states
from clusters.runpod.runpod_spec import RunpodSpec
from search.breakthrough import main, parser
from tests.clusters.played.playing import FIELDS, Play, playing

MISTYPED = [
    (["--at", "0"], "at.1 is 0"),
    (["--at", "5,x"], "expected lengths of a list"),
    (["--plan", "nosuchplan"], "nosuchplan"),
    (["--plan", "nosuch/plan.yaml"], "nosuch/plan.yaml"),
    (["--plan", "BROKEN.yaml"], "BROKEN.yaml"),
    (["--plan", "UNKNOWN.yaml"], "trails"),
    (["--plan", "LIST.yaml"], "LIST.yaml"),
    (["--data", "ml-32n"], "ml-32"),
    (["--data", "nosuch/ratings.csv"], "no such file"),
    (["--data", "synthetic:users=5,itemz=9"], "itemz"),
    (["--data", "synthetic:users=0,items=9,ratings=5"], "users"),
    (["--data", "EMPTY.csv"], "EMPTY.csv"),
    (["--data", ""], "--data"),
    (["--split", "randon"], "randon"),
    (["--split", "folds:u9"], "folds"),
    (["--split", "folds:u1"], "folds"),  # of ML-1M there are none
    (["--set", "trails=9"], "trails"),
    (["--set", "trials"], "key=value"),
    (["--set", "trials=[1"], "trials"),
    (["--set", "pruning.grace=3"], "grace"),
    (["--set", "pruning.grace_epochs=0"], "grace_epochs"),
    (["--set", "families.hybrid_vea=1"], "hybrid_vea"),
    (["--set", "families={hybrid_vae: 0}"], "sum to 0"),
    (["--set", "families={hybrid_vae: -1}"], "families"),
    (["--set", "baselines=[biass]"], "biass"),
    (["--set", "template=nosuch"], "nosuch"),
    (["--set", "template=bayes_mf"], "trial 1 is a hybrid_vae"),
    (["--set", "points=[nosuch]"], "nosuch"),
    (["--set", "objective=stars"], "stars"),
    (["--set", "objectives=[rmse, rmse]"], "two different ones"),
    (["--set", "small_batch=true"], "small_batch"),
    (["--set", "dropout=lots"], "dropout"),
    (["--set", "dropout=2"], "dropout"),
    (["--set", "bayes_mf.factors=-4"], "factors"),
    (["--set", "kl_weight=0.5"], "kl_weight"),
    (["--set", "factors=4000"], "factors"),
    (["--set", "batch_size=4096"], "batch_size"),
    (["--set", "learning_rate=.nan"], "learning_rate"),
    (["--trials", "1"], "trials"),
    (["--epochs", "0"], "epochs"),
    (["--seed", "-1"], "seed"),
    (["--concurrency", "0"], "concurrency"),
    (["--price", "-1"], "price"),
    (["--price", "nan"], "price"),
    (["--max-hours", "0"], "max_hours"),
    (["--max-hours", "inf"], "max_hours"),
    (["--max-cost", "-5"], "max_cost"),
    (["--target-loss", "0"], "target_loss"),
    (["--scale", "5:1"], "--scale"),
    (["--scale", "low:5"], "--scale"),
    (["--missing", "none"], "--missing"),
    (["--weigh-exposures"], "RUN+EVENTS"),
    (["--data", "runs/champion+runs/events.db"], "data ratings"),
    (["--items", "nosuch/items.csv"], "nosuch/items.csv"),
    (["--users", "nosuch/users.csv"], "nosuch/users.csv"),
    (["--data", "RATINGS.csv", "--items", "nosuch/items.csv"], "nosuch/items.csv"),
    (["--data", "RATINGS.csv", "--user-column", "usr"], "usr"),
    (["--data", "RATINGS.csv", "--rating-column", "stars"], "stars"),
    (["--data", "RATINGS.csv", "--split", "temporal"], "temporal"),
    (["--warm-start", "runs/nosuch"], "warm-start"),
    (["--start-from", "runs/nosuch"], "start-from"),
    (["--notify", "ftp//nowhere"], "--notify"),
    (["--resume"], "--resume"),
    (["--resume", "--plan", "quick"], "--resume"),
    (["--detach"], "--detach needs a volume or a store"),
    (["--attach"], "runs"),
]
UNREADABLE = [
    ["--trial", "5"],  # a shortened option is none
    ["--trials", "many"],
    ["--epochs", "2.5"],
    ["--seed", "one"],
    ["--concurrency", "x"],
    ["--price", "cheap"],
    ["--max-hours", "6h"],
    ["--max-cost", "$8"],
    ["--target-loss", "low"],
    ["--duplicates", "first"],
    ["--header", "yes"],
    ["--trails", "9"],
    ["--plan"],
]
CLUSTER = [
    ({"kind": "runpood"}, "runpood"),
    ({"kind": None}, "kind"),
    ({"gpus": []}, "gpus"),
    ({"gpus": [{"id": "NVIDIA RTX A600"}]}, "NVIDIA RTX A6000"),
    ({"gpus": [{"id": "A6000"}]}, "NVIDIA RTX A6000"),
    ({"gpus": [{"id": "NVIDIA RTX A6000", "batch_size": 1024}]}, "batch_size"),
    ({"gpus": [{"id": "NVIDIA RTX A6000"}, {"id": "NVIDIA RTX A6000"}]}, "twice"),
    ({"gpu": [{"id": "NVIDIA RTX A6000"}]}, "gpu"),
    ({"gpus_per_pod": 0}, "gpus_per_pod"),
    ({"trials_per_gpu": 9}, "trials_per_gpu"),
    ({"pods": 17}, "pods"),
    ({"pods": 2}, "global_networking"),
    ({"image": ""}, "image"),
    ({"disk_gb": 1}, "disk_gb"),
    ({"volume": "vol1"}, "volume"),
    ({"volume": {"id": "vol1", "path": "workspace"}, "data_centers": ["EU-RO-1"]}, "path"),
    ({"volume": {"id": "vol1"}}, "data_centers"),
    ({"volume": {"name": "vol1"}, "data_centers": ["EU-RO-1"]}, "name"),
    ({"store": "bucket/folder"}, "store"),
    ({"store": "s4://bucket/folder"}, "s4"),
    ({"store": "s3://bucket", "store_env": ["NOT_SET_HERE"]}, "NOT_SET_HERE"),
    ({"store_env": ["AWS_ACCESS_KEY_ID"]}, "store"),
    ({"max_usd_per_hour": 0}, "max_usd_per_hour"),
    ({"max_usd": -8}, "max_usd"),
    ({"max_usd": float("inf")}, "max_usd"),
    ({"max_usd": float("nan")}, "max_usd"),
    ({"max_usd": "eight"}, "max_usd"),
    ({"max_hours": 0}, "max_hours"),
    ({"max_hours": 1000}, "max_hours"),
    ({"idle_minutes": float("inf")}, "idle_minutes"),
    ({"silence_minutes": 0}, "silence_minutes"),
    ({"boot_minutes": -1}, "boot_minutes"),
    ({"network_minutes": 0}, "network_minutes"),
    ({"replacements": 11}, "replacements"),
    ({"require_gpu": "perhaps"}, "require_gpu"),
    ({"ray_cpus": 0}, "ray_cpus"),
    ({"object_store_gb": 0}, "object_store_gb"),
    ({"cloud": "SECURED"}, "cloud"),
    ({"data_centers": ["eu-ro"]}, "data_centers"),
    ({"global_networking": True, "cloud": "COMMUNITY"}, "SECURE"),
    ({"min_cuda": "12"}, "min_cuda"),
    ({"image_start": ""}, "image_start"),
    ({"max_dollars": 8}, "max_dollars"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with files that a mistyped option may name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BROKEN.yaml").write_text("trials: [1")
    (tmp_path / "UNKNOWN.yaml").write_text("trails: 9")
    (tmp_path / "LIST.yaml").write_text("- trials")
    (tmp_path / "EMPTY.csv").write_text("")
    rows = [f"{user},{item},{1 + (user + item) % 5}" for user in range(20) for item in range(10)]
    (tmp_path / "RATINGS.csv").write_text("\n".join(["user,item,rating", *rows]))
    return tmp_path


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    with playing(tmp_path, monkeypatch) as made:
        yield made


def refuse(
    play: Play, folder: Path, capsys: pytest.CaptureFixture[str], fields: Any, arguments: list[str]
) -> str:
    """Run the command; what it said when it ended with 2, before anything else had happened."""
    cluster = folder / "cluster.yaml"
    cluster.write_text(yaml.safe_dump({key: value for key, value in fields.items() if value is not None}))
    words = ["--cluster", str(cluster), "--out", str(folder / "run"), "--yes", *arguments]
    assert main(words) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "quote" not in said.out
    assert play.cloud.calls == []
    assert not (folder / "run").exists()
    assert states.all_states() == []
    return said.err


@pytest.mark.parametrize(("arguments", "named"), MISTYPED, ids=lambda value: str(value)[:40])
def test_a_mistyped_option_is_refused_before_the_quote(
    play: Play, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    assert named in refuse(play, folder, capsys, FIELDS, ["--data", "ml-1m", *arguments])


@pytest.mark.parametrize(("fields", "named"), CLUSTER, ids=lambda value: str(value)[:40])
def test_a_mistyped_key_of_the_cluster_is_refused_before_the_quote(
    play: Play, folder: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], named: str
) -> None:
    assert named in refuse(play, folder, capsys, FIELDS | fields, ["--data", "ml-1m"])


@pytest.mark.parametrize("arguments", UNREADABLE, ids=str)
def test_an_option_that_is_none_or_no_number_ends_with_2(
    play: Play, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        refuse(play, folder, capsys, FIELDS, arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err
    assert play.cloud.calls == []


def test_every_option_of_the_command_is_among_those_mistyped() -> None:
    """But for flags, which have no value, and those that name the folder and the cluster themselves."""
    options = {action.option_strings[0] for action in parser()._actions if action.nargs != 0}
    tried = {word for words, _ in MISTYPED for word in words} | {words[0] for words in UNREADABLE}
    assert options - tried == {"--out", "--cluster", "--item-column", "--time-column"}
    keys = {key for fields, _ in CLUSTER for key in fields}
    assert set(RunpodSpec.model_fields) - keys == set()
