"""After an erasure no byte of the run and log folders names the person, whose new ratings count again."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.pseudonyms import pseudonym, pseudonym_key
from serving.events.retention import erase, export, retain
from serving.events.store import EventStore
from tests.serving.events.checks import exposure, spool_line
from tests.serving.running import Running, arms_of, running
from tests.waiting import wait_for

PERSON = "person-zq7x-5531"


def start(folder: Path, releases: dict[str, Path]) -> Iterator[Running]:
    with running(
        folder,
        releases,
        access_log=str(folder / "logs" / "access.jsonl"),
        experiment={"overrides": {PERSON: "a"}},
    ) as made:
        yield made


@pytest.fixture
def made(releases: dict[str, Path], tmp_path: Path, admin_token: str) -> Iterator[Running]:
    yield from start(tmp_path, releases)


def holding(folder: Path, text: str) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def test_no_byte_names_an_erased_person(made: Running, releases: dict[str, Path], tmp_path: Path) -> None:
    arms = arms_of(releases)
    assert made.change(arms, overrides={PERSON: "b"}).status_code == 200
    assert made.change(arms, overrides={PERSON: "a", "u2": "b"}).status_code == 200
    for number in range(30):
        made.list(PERSON)
        made.list("u1")
        made.rate(PERSON, f"i{number % 9}", 1.0 + number % 4, f"e{number}", at=1_700_000_000.0 + number)
    folder = made.service.settings.spool_folder
    torn = spool_line({"user_id": PERSON, "items": []})[:-4]
    (folder / "old.broken").write_bytes(torn + b"\n" + spool_line({"user_id": "u1"}))
    dead = folder / "dead.jsonl"
    dead.write_bytes(spool_line({"user_id": PERSON}) + spool_line({"user_id": "u1"}))
    assert holding(tmp_path, PERSON)
    rows = list(export(made.service.store, PERSON))
    assert {row["table"] for row in rows} == {"exposures", "feedback", "experiments"}

    other = EventStore(made.service.settings.events)  # as the command does, beside the running server
    deleted = erase(other, PERSON)
    other.close()
    assert deleted["feedback"] == 30
    assert deleted["overrides"] >= 4
    wait_for(lambda: (tmp_path / "logs" / "access.jsonl").exists())
    wait_for(lambda: holding(tmp_path, PERSON) == [])
    assert spool_line({"user_id": "u1"}) == dead.read_bytes()
    assert list(export(made.service.store, PERSON)) == []
    wait_for(lambda: PERSON not in made.service.deployment.state.overrides)
    assert made.service.deployment.state.overrides == {"u2": "b"}
    wait_for(lambda: made.service.recent_ratings.of(PERSON) == {})
    key = pseudonym_key(made.service.settings.events)
    assert [entry.subject for entry in made.service.store.journal(kind="erasure")] == [pseudonym(PERSON, key)]
    assert pseudonym(PERSON, b"another key") != pseudonym(PERSON, key)


def test_a_returning_person_counts_again_also_after_a_restart(
    made: Running, releases: dict[str, Path], tmp_path: Path
) -> None:
    made.rate(PERSON, "i1", 1.0, "before")
    erase(made.service.store, PERSON)
    made.rate(PERSON, "i2", 5.0, "after", at=1_600_000_000.0)  # a late clock is still after the erasure
    wait_for(lambda: made.service.recent_ratings.of(PERSON) == {"i2": 5.0})
    for again in start(tmp_path, releases):
        assert again.service.recent_ratings.of(PERSON) == {"i2": 5.0}
        assert again.list(PERSON)["source"] == "folded_in"


def test_an_erasure_under_another_key_is_followed_too(made: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made.rate(PERSON, "i1", 1.0, "e1")
    made.rate("u1", "i1", 1.0, "e2")
    service = made.service
    elsewhere = EventStore(service.settings.events)
    elsewhere.append("erasure", "0" * 64, {"key": "00000000"})  # of a machine with a key of its own
    wait_for(lambda: service.recent_ratings.of("u1") == {"i1": 1.0})
    monkeypatch.setenv("RECSYS_HASH_KEY", "elsewhere")
    erase(elsewhere, PERSON)
    monkeypatch.delenv("RECSYS_HASH_KEY")
    wait_for(lambda: service.recent_ratings.of(PERSON) == {})
    assert service.recent_ratings.of("u1") == {"i1": 1.0}


def test_what_retention_deletes_is_no_longer_used(made: Running) -> None:
    made.rate("newcomer", "i1", 1.0, "old", at=1_000_000.0)
    made.rate("newcomer", "i2", 2.0, "new")
    made.rate("gone", "i2", 2.0, "old2", at=1_000_000.0)
    retain(made.service.store, days=30)
    wait_for(lambda: made.service.recent_ratings.of("newcomer") == {"i2": 2.0})
    wait_for(lambda: made.list("gone")["source"] == "popular")


def test_the_store_and_its_key_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = EventStore(str(path))
    store.create_tables()
    store.add(exposures=[exposure("x1")])
    pseudonym_key(str(path))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    path.chmod(0o644)
    EventStore(str(path)).ping()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_key_is_made_once_and_a_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = str(tmp_path / "events.db")
    assert pseudonym_key(events) == pseudonym_key(f"sqlite:///{events}")
    monkeypatch.setenv("RECSYS_HASH_KEY", "shared by machines")
    assert pseudonym_key(events) == pseudonym_key("postgresql://nobody@nowhere/x")
