"""What a run says of its lists before it starts: what they are judged on, or why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data.data_spec import DataSpec
from search.config.plan import make_plan
from search.run.context import RunContext
from search.run.search_request import SearchRequest
from search.run.setup import prepare

TABLES = {
    "one rating a person": [(user, user % 7, 1 + user % 5, user) for user in range(60)],
    "all rated by all": [
        (user, item, 1 + (user + item) % 5, user + item) for user in range(12) for item in range(5)
    ],
}


def prepared(folder: Path, rows: list[tuple[int, int, int, int]], **settings: object) -> RunContext:
    path = folder / "ratings.csv"
    path.write_text("\n".join(["user,item,rating,timestamp", *(",".join(map(str, row)) for row in rows)]))
    plan = make_plan({"baselines": [], "reference": {"enabled": False}, **settings}, {})
    return prepare(SearchRequest(out=folder / "run", plan=plan, source=DataSpec(data=str(path))))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("objective", ["both", "lists"])
def test_where_no_list_can_be_made_it_is_said_and_the_rating_track_goes_on(
    tmp_path: Path, name: str, objective: str
) -> None:
    run = prepared(tmp_path, TABLES[name], trials=4, objective=objective)
    assert run.composer is not None
    assert {slot.track for slot in run.composer.sequence} == {"rating"}
    (line,) = [line for line in run.introduction() if "no list can be searched" in line]
    assert ("nobody has two" if name == "one rating a person" else "rated every item") in line
    assert "the rating track goes on" in line


def test_it_says_which_ratings_lists_are_judged_on(tmp_path: Path) -> None:
    rows = [
        (user, (user * item) % 19, 1 + item % 5, 100 * item) for user in range(1, 40) for item in range(1, 9)
    ]
    rows = list({(row[0], row[1]): row for row in rows}.values())
    run = prepared(tmp_path, rows, trials=4, objective="lists", split="random")
    assert any(
        "6 list trials, judged by NDCG@10 on the newest quarter of each person's" in line
        and "split random" in line
        for line in run.introduction()
    )
    random = prepared(tmp_path, rows, trials=4, list_trials=5, split="per-user")
    assert any(
        "5 list trials, judged by NDCG@10 on the random quarter" in line for line in random.introduction()
    )
    ratings = prepared(tmp_path, rows, trials=4, objective="rating")
    assert ratings.lists is None
    assert any("objective is ratings alone" in line for line in ratings.introduction())
