"""Every subcommand and option of `python -m clusters`, mistyped: exit 2 in one line, no request sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clusters import state as states
from clusters.cli import main, parser
from tests.clusters.played.playing import FIELDS, Play, a_spec

MISTYPED = [
    (["quote", "nosuch.yaml"], "nosuch.yaml"),
    (["quote", "."], "could not be read"),
    (["quote", "ratings.csv"], "kind"),
    (["quote", "cluster.yaml", "--plan", "ml-23m"], "ml-23m"),
    (["up", "nosuch.yaml", "--yes"], "nosuch.yaml"),
    (["up", "local.yaml", "--yes"], "nothing to rent"),
    (["up", "cluster.yaml"], "--yes"),
    (["up", "cluster.yaml", "--yes", "--out", "ratings.csv"], "ratings.csv"),
    (["status", "nosuch"], "nosuch"),
    (["ssh", "nosuch"], "nosuch"),
    (["ssh", "{cluster}", "--node", "3"], "--node 3"),
    (["ssh", "{cluster}", "--node", "-1"], "--node -1"),
    (["logs", "nosuch"], "nosuch"),
    (["fetch", "nosuch"], "nosuch"),
    (["fetch", "{cluster}", "--out", "ratings.csv"], "ratings.csv"),
    (["down", "nosuch"], "nosuch"),
    (["sweep", "--provider", "runpot"], "runpot"),
    (["sweep", "--provider", "local"], "local"),
]
UNREADABLE = [
    ["nosuch"],
    [],
    ["quote"],
    ["up"],
    ["quote", "a", "b"],
    ["quote", "cluster.yaml", "--offlin"],
    ["ssh", "--node", "one"],
    ["status", "--al1"],
    ["logs", "--folow"],
    ["down", "--discart"],
    ["sweep", "--every"],
]


@pytest.fixture
def here(tmp_path: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with a cluster file and one that is none, and the name of a cluster without pods."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("clusters.launch.shutil.which", lambda tool: f"/usr/bin/{tool}")
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(FIELDS))
    (tmp_path / "local.yaml").write_text("kind: local\n")
    (tmp_path / "ratings.csv").write_text("user,item,rating\n1,1,5\n")
    return states.create(a_spec(), out=tmp_path / "run").name


@pytest.mark.parametrize(("words", "named"), MISTYPED, ids=lambda value: str(value)[:50])
def test_a_mistyped_word_ends_with_2_and_is_named(
    words: list[str], named: str, here: str, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(cluster=here) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert named in said
    assert play.cloud.pods == {}
    assert all(method == "GET" for method, *_ in play.cloud.calls)  # `up` asks what the quote is
    assert [state.name for state in states.all_states()] == [here]


@pytest.mark.parametrize("words", UNREADABLE, ids=str)
def test_words_that_are_none_end_with_2(words: list[str], here: str, play: Play) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert play.cloud.calls == []


def test_every_subcommand_and_option_is_among_them() -> None:
    (commands,) = [action.choices for action in parser()._actions if action.dest == "command"]
    tried = [words for words, _ in MISTYPED] + UNREADABLE
    for name, command in commands.items():  # type: ignore[union-attr]
        given = [words[1:] for words in tried if words[:1] == [name]]
        assert given
        for action in command._actions:
            options = [text for text in action.option_strings if text.startswith("--")]
            if action.nargs != 0 and options:
                assert any(option in words for words in given for option in options), (name, options)
