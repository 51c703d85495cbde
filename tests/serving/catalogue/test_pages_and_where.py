"""Pages of items and filtered lists, against a plain loop over what each item says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.__main__ import main
from serving.events.item_log import newest_items
from serving.events.store import EventStore
from tests.serving.running import AS_ADMIN, Running, running


@pytest.fixture(scope="module")
def made(releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose catalogue has features, added, hidden and unavailable items."""
    rows: list[dict[str, Any]] = [
        {"id": f"i{n}", "features": {"price": n / 2, "lang": "en" if n % 3 else "de"}} for n in range(30)
    ]
    rows[4] |= {"hidden": True}
    rows[5] |= {"available_from": "2099-01-01"}
    rows[6] |= {"genres": ["Opera"], "title": "The Retitled (1812)"}
    rows += [{"id": f"n{n}", "title": f"Added {n} (20{n:02d})", "genres": ["Drama"]} for n in range(12)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_ADMIN_TOKEN", AS_ADMIN["authorization"].split()[1])
        with running(tmp_path_factory.mktemp("pages"), {"a": releases["a"]}) as entry:
            answer = entry.client.post("/v1/items", json={"items": rows}, headers=AS_ADMIN)
            assert answer.status_code == 200, answer.text
            yield entry


def pages(made: Running, **query: Any) -> list[dict[str, Any]]:
    """All items, page by page."""
    result: list[dict[str, Any]] = []
    cursor = None
    while True:
        more = {} if cursor is None else {"cursor": cursor}
        answer = made.client.get("/v1/items", params={"count": 7, **query, **more})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) == 7 or page["next"] is None
        result += page["items"]
        cursor = page["next"]
        if cursor is None:
            assert len(result) == page["total"]
            return result


def feature(item: dict[str, Any], name: str, default: Any) -> Any:
    return item["features"].get(name, default)


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def test_pages_hold_every_listed_item_once_in_order(made: Running) -> None:
    everything = pages(made)
    expected = sorted({f"i{n}" for n in range(40)} - {"i4", "i5"} | {f"n{n}" for n in range(12)})
    assert ids(everything) == expected
    assert ids(pages(made, unavailable=True)) == sorted([*expected, "i5"])
    assert all(made.client.get(f"/v1/items/{item['id']}").json() == item for item in everything)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (
            "year >= 1990 and genre in (Drama)",
            lambda item: item["year"] >= 1990 and "Drama" in item["genres"],
        ),
        ("genre = opera", lambda item: "Opera" in item["genres"]),
        (
            "price < 3 or lang = DE",
            lambda item: item["features"].get("price", 9) < 3 or item["features"].get("lang") == "de",
        ),
        ("not price", lambda item: not item["features"].get("price")),
        ("new", lambda item: item["new"]),
        ("title = 'the retitled (1812)'", lambda item: item["id"] == "i6"),
        ("id in (i1, n2, i99)", lambda item: item["id"] in ("i1", "n2")),
        ("available and year != 1960", lambda item: item["year"] != 1960),
        ("available_from > 2000-01-01", lambda item: False),
    ],
)
def test_filters_give_what_fits(made: Running, where: str, holds: Any) -> None:
    expected = [item for item in pages(made) if holds(item)]
    assert pages(made, where=where) == expected
    known = {item["id"] for item in expected}
    listed = made.list("u3", count=100, include_seen=True, where=where)["items"]
    assert {item["id"] for item in listed} == {entry for entry in known if entry.startswith("i")}
    body = {"user_id": "u3", "count": 100, "include_seen": True, "where": where}
    session = made.client.post("/v1/recommendations", json=body).json()["items"]
    assert session == listed
    popular = made.client.get("/v1/popular", params={"count": 100, "where": where}).json()["items"]
    assert {item["id"] for item in popular} == {item["id"] for item in listed}
    similar = made.client.get("/v1/items/i9/similar", params={"count": 100, "where": where}).json()["items"]
    assert {item["id"] for item in similar} == {item["id"] for item in listed} - {"i9"}


def test_unavailable_items_by_their_window(made: Running) -> None:
    later = pages(made, where="available_from > 2090-01-01", unavailable=True)
    assert ids(later) == ["i5"] == ids(pages(made, where="not available", unavailable=True))


def test_a_title_search_has_pages_with_the_most_rated_first(made: Running) -> None:
    counts = made.service.deployment.control.release.popularity.counts
    result = ids(pages(made, title="film"))
    rows = [made.service.deployment.control.rows.item(item) for item in result]
    assert rows == sorted(rows, key=lambda row: -float(counts[row]))  # type: ignore[index]
    assert set(result) == {f"i{n}" for n in range(40)} - {"i4", "i5", "i6"}
    assert ids(pages(made, title="RETITLED")) == ["i6"]
    assert ids(pages(made, title="added", where="year > 2008")) == ["n9", "n10", "n11"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("year >", "at character 7: expected a value"),
        ("colour = red", "at character 1: no item has 'colour'; there are id, title"),
    ],
)
def test_what_does_not_parse_is_422_with_the_place(made: Running, where: str, words: str) -> None:
    for path in ("/v1/items", "/v1/users/u1/recommendations", "/v1/popular", "/v1/items/i1/similar"):
        answer = made.client.get(path, params={"where": where})
        assert answer.status_code == 422, path
        assert words in answer.json()["error"]["message"]
    assert made.client.get("/v1/items?cursor=unheard").status_code == 422
    body = {"requests": [{"user_id": "u1", "where": where}]}
    assert made.client.post("/v1/recommendations/batch", json=body).status_code == 422


def test_a_filtered_list_is_not_remembered_as_the_plain_one(made: Running) -> None:
    plain = ids(made.list("u7")["items"])
    narrowed = ids(made.list("u7", where="lang = de")["items"])
    assert set(narrowed) != set(plain)
    assert ids(made.list("u7")["items"]) == plain


def test_a_table_is_loaded_beside_a_running_service(
    made: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "items.csv"
    table.write_text(
        "id,title,genres,stock,origin,hidden\nx1,Loaded One (1999),Drama|Opera,12,Köln,\ni8,,,3,,false\n"
    )
    words = ["items", "load", str(table), "--events", made.service.settings.events]
    assert main(words) == 0
    assert '"items": 2' in capsys.readouterr().out
    made.service.refresh_catalogue()
    assert ids(pages(made, where="stock > 2")) == ["i8", "x1"]
    loaded = made.client.get("/v1/items/x1").json()
    assert (loaded["title"], loaded["genres"]) == ("Loaded One (1999)", ["Drama", "Opera"])
    assert loaded["features"] == {"stock": 12, "origin": "Köln"}
    kept = made.client.get("/v1/items/i8").json()
    assert kept["title"].startswith("Film 8")
    assert kept["features"]["price"] == 4
    history = made.client.get("/v1/items/x1/history", headers=AS_ADMIN).json()["changes"]
    assert [(entry["actor"], entry["reason"]) for entry in history] == [
        ("items load", "loaded from items.csv")
    ]
    assert main(words) == 0  # again: nothing changes
    store = EventStore(made.service.settings.events)
    assert {item.item_id: item.revision for item in newest_items(store)[1]}["x1"] == 1
    store.close()
    table.write_text("id,title,available_from\nx2,A,soon\n")
    assert main(words) == 2
    assert "item 'x2': available_from" in capsys.readouterr().err


def test_a_table_that_is_broken_in_the_middle_changes_nothing(
    made: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = newest_items(made.service.store)
    rows = [f"y{n},Title {n},{'soon' if n == 1_200 else ''}" for n in range(1_500)]
    table = tmp_path / "items.csv"
    table.write_text("\n".join(["id,title,available_from", *rows]))
    words = ["items", "load", str(table), "--events", made.service.settings.events]
    assert main(words) == 2
    assert "item 'y1200': available_from" in capsys.readouterr().err
    assert newest_items(made.service.store) == before
    table.write_text("\n".join(["id,title,available_from", *rows]).replace("soon", "2030-01-01"))
    assert main(words) == 0
    assert newest_items(made.service.store)[0] == before[0] + 1_500
