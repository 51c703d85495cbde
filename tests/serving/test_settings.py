from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from recsys.errors import InputError
from serving.__main__ import main
from serving.app import read_yaml
from serving.commands.serve import settings_of
from serving.events.store import EventStore
from serving.release_registry import pinned, resolve
from serving.server import listener
from serving.settings import read_settings
from serving.startup_checks import check_exposure, difference, find_releases, named_state, resolve_experiment
from tests.empty_mlflow import place_empty_mlflow
from tests.serving.running import arms_of, settings_for

YAML = Path(__file__).resolve().parents[2] / "serving" / "serve.yaml"


def options(*words: str) -> Any:
    import argparse

    from serving.commands.serve import add_arguments

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_the_yaml_is_one_that_ray_and_we_can_read() -> None:
    ServeDeploySchema.model_validate(yaml.safe_load(YAML.read_text()))
    _, args = read_yaml(YAML)
    settings = read_settings(args, where=str(YAML))
    assert [arm.share for arm in settings.experiment.arms] == [0.9, 0.1]
    assert read_settings(settings.model_dump(mode="json"), where="as the replicas read them") == settings
    assert settings.host == "127.0.0.1"


def test_release_and_arms_on_the_command_line() -> None:
    made = settings_of(options("--release", "runs/a", "--arm", "b=runs/b:0.2", "--arm", "c=/runs/c:shadow"))
    arms = [(arm.name, arm.share, arm.shadow) for arm in made.experiment.arms]
    assert arms == [("main", 0.8, False), ("b", 0.2, False), ("c", 0.0, True)]
    assert made.experiment.arms[0].release == str(Path("runs/a").absolute())
    over = settings_of(options("--config", str(YAML), "--port", "9000", "--events", "postgresql://x@y/z"))
    assert (over.port, over.events, len(over.experiment.arms)) == (9000, "postgresql://x@y/z", 2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serve"], "make one with `python search/breakthrough.py`"),
        (["serve", "--release", "runs/nothing/there"], "make one with `python search/breakthrough.py`"),
        (["serve", "--release", "a", "--arm", "b"], "expected NAME=RELEASE:SHARE"),
        (["serve", "--release", "a", "--arm", "b=b:1.5"], "leaves nothing for --release"),
        (["serve", "--release", "a", "--port", "99999"], "port"),
        (["serve", "--config", "nowhere.yaml"], "there is no nowhere.yaml"),
        (["serve", "--release", ".", "--host", "0.0.0.0"], "set RECSYS_API_KEY"),
        (["deploy", __file__], "is not a Serve config"),
    ],
)
def test_bad_starts_say_what_to_do_and_exit_with_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prot": 1}, "prot"),
        ({"experiment": {"arms": [{"name": "a b", "release": "x", "share": 1}]}}, "experiment.arms.0.name"),
        ({"rules": {"diversity": 2}}, "rules.diversity"),
        ({"deadline_ms": 0}, "deadline_ms"),
    ],
)
def test_a_setting_that_cannot_be_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_settings(fields, where="serve.yaml")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.7", False),
    ],
)
def test_only_loopback_needs_no_key(host: str, loopback: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read_settings({"host": host}, where="x")
    monkeypatch.delenv("RECSYS_API_KEY", raising=False)
    assert settings.loopback == loopback
    if loopback:
        check_exposure(settings)
    else:
        with pytest.raises(InputError, match="set RECSYS_API_KEY"):
            check_exposure(settings)
        monkeypatch.setenv("RECSYS_API_KEY", "k")
        check_exposure(settings)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{port}"):
            listener("127.0.0.1", port)
    with pytest.raises(InputError, match="is not an address of this machine"):
        listener("not.a.host.invalid", port)


def test_two_replicas_share_a_port_and_a_second_service_is_noticed() -> None:
    with listener("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        first.listen()
        with listener("127.0.0.1", port) as second:
            assert second.getsockname() == first.getsockname()
            with pytest.raises(InputError, match="cannot listen"):
                listener("127.0.0.1", port, shared=False)


def test_what_was_changed_at_run_time_outlives_a_restart(releases: dict[str, Path], tmp_path: Path) -> None:
    settings = settings_for(tmp_path, releases, 0.9, 0.1)
    first = resolve_experiment(settings)
    assert (first.revision, first.arms[1].share) == (1, 0.1)
    store = EventStore(settings.events)
    store.save_experiment(
        settings_for(tmp_path, releases, 0.6, 0.4).experiment.state(), expected=1, actor="x"
    )
    again = resolve_experiment(settings)
    assert (again.revision, again.arms[1].share) == (2, 0.4)
    others = settings_for(tmp_path, {"a": releases["a"]}, 1.0)
    goes_on = resolve_experiment(others)
    assert goes_on == again
    assert "--reset serves those" in difference(named_state(others), goes_on)
    replaced = resolve_experiment(others, reset=True)
    assert (replaced.revision, [arm.name for arm in replaced.arms]) == (3, ["a"])
    assert difference(named_state(others), replaced) == ""


def test_a_restart_does_not_undo_a_finished_roll_out(releases: dict[str, Path], tmp_path: Path) -> None:
    start = settings_for(tmp_path, {"main": releases["a"]}, 1.0)
    first = resolve_experiment(start)
    finished = settings_for(tmp_path, {"main": releases["b"]}, 1.0).experiment.state()
    store = EventStore(start.events)
    store.save_experiment(finished, expected=first.revision, actor="rollout")
    again = resolve_experiment(start)
    assert (again.revision, again.arms[0].release) == (2, str(releases["b"]))


def test_a_stored_release_that_is_gone_says_how_to_start_without_it(
    releases: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(releases["b"], copy)
    resolve_experiment(settings_for(tmp_path, {"main": copy}, 1.0))
    shutil.rmtree(copy)
    start = settings_for(tmp_path, {"main": releases["a"]}, 1.0)
    with pytest.raises(InputError, match=r"revision 1 of 'main'.*--reset"):
        find_releases(resolve_experiment(start))
    assert find_releases(resolve_experiment(start, reset=True)) == [releases["a"]]


def test_a_start_that_cannot_be_leaves_no_event_store(tmp_path: Path) -> None:
    start = settings_for(tmp_path, {"main": tmp_path / "nothing"}, 1.0)
    with pytest.raises(InputError):
        resolve_experiment(start)
    assert not (tmp_path / "events.db").exists()


@pytest.mark.slow
def test_a_release_out_of_mlflow(
    releases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from recsys.release.load import read_manifest

    uri = place_empty_mlflow(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("releases", artifact_location=(tmp_path / "artifacts").as_uri())
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(releases["a"]), "release")
    client.create_registered_model("movies")
    client.create_model_version("movies", f"{run.info.artifact_uri}/release", run.info.run_id)
    client.set_registered_model_alias("movies", "champion", "1")
    folder = resolve("models:/movies@champion")
    assert read_manifest(folder).release_id == read_manifest(releases["a"]).release_id
    assert pinned("models:/movies@champion") == "models:/movies/1"
    assert resolve("models:/movies/1") == folder
    for wrong in ("models:/movies@nobody", "models:/other/1", "models:/movies"):
        with pytest.raises(InputError, match="models:/"):
            resolve(wrong)


def test_arms_of_the_helpers_sum_to_one(releases: dict[str, Path]) -> None:
    assert sum(arm["share"] for arm in arms_of(releases)) == 1
