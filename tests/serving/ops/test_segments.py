"""Results by what was known of users before: activity, and columns of their table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.data.user_features import movielens_groups, read_user_table
from recsys.data.user_groups import UserGroups, group_users
from recsys.errors import InputError
from recsys.release.load import load_release
from serving.assignment import Assigner
from serving.domain import ArmSpec, ExperimentState, Exposure, Feedback
from serving.events.store import EventStore
from serving.experiments.segments import UserSegments
from serving.operation_settings import OperationSettings
from serving.operations_service import Operations
from serving.startup_checks import check_segments
from tests.releases import make_dataset, make_release

NOW, USERS = 1_000_000.0, 800
PLANS = ("free", "paid", "")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Known users u0 to u799, every third of a plan, of the rest it is not known; ages 20 to 69."""
    folder = tmp_path_factory.mktemp("segments")
    lines = [f"u{row},{PLANS[row % 3]},{20 + row % 50}" for row in range(USERS)]
    (folder / "people.csv").write_text("\n".join(["user,plan,age", *lines]))
    dataset = make_dataset(users=USERS, seed=1)
    groups = read_user_table(folder / "people.csv", dataset.user_ids)[1]
    assert groups is not None
    return make_release(folder / "release", dataset=replace(dataset, user_groups=groups), members=("bias",))


def test_columns_become_groups_and_come_back_from_a_release(release: Path) -> None:
    groups = load_release(release).user_groups()
    assert groups is not None
    assert groups.names == {
        "plan": ("free", "paid"),
        "age": ("up to 36", "above 36, up to 53", "above 53"),
    }
    assert [groups.group_of("plan", row) for row in (0, 1, 2, None)] == [
        "free",
        "paid",
        "not known",
        "not known",
    ]
    assert [groups.group_of("age", row) for row in (0, 17, 49)] == [
        "up to 36",
        "above 36, up to 53",
        "above 53",
    ]


def test_lists_ids_and_rare_names_are_no_groups(tmp_path: Path) -> None:
    cells = {"tags": ["a|b", "a"], "name": ["ann", "bob"], "one": ["x", "x"], "empty": [None, ""]}
    assert group_users(cells, [0, 1], 2) is None
    jobs = [f"job {n}" for n in range(15) for _ in range(n + 1)]
    many = group_users({"job": jobs}, range(len(jobs)), len(jobs))
    assert many is not None
    assert (len(many.names["job"]), many.names["job"][-1]) == (10, "other")
    assert many.group_of("job", 0) == "other"
    assert many.group_of("job", len(jobs) - 1) == "job 14"
    (tmp_path / "groups.json").write_text('{"a": ["x"], "b": ["y"]}')
    np.save(tmp_path / "groups.npy", np.zeros((3, 1), np.int16))
    with pytest.raises(ValueError, match=r"groups\.json has 2 columns"):
        UserGroups.load(tmp_path)


def test_movielens_people_are_told_apart_by_age_gender_and_occupation() -> None:
    people = {"1": (24, "M", "technician"), "2": (53, "F", "7"), "3": (24, "F", "7")}
    groups = movielens_groups(np.array(["1", "2", "9", "3"]), people)
    assert groups is not None
    assert groups.names["gender"] == ("F", "M")
    assert [groups.group_of("age", row) for row in range(4)] == ["24", "53", "not known", "24"]
    assert groups.group_of("occupation", 1) == "code 7"


def test_a_column_that_the_release_lacks_ends_a_start(release: Path, tmp_path: Path) -> None:
    check_segments(["plan"], release)
    with pytest.raises(InputError, match=r"no user column 'plam'; it has plan, age$"):
        check_segments(["plam"], release)
    bare = make_release(tmp_path / "bare", members=("bias",))
    with pytest.raises(InputError, match="made without a table of users"):
        check_segments(["plan"], bare)


def test_segments_stay_those_of_the_release_whoever_comes(release: Path) -> None:
    loaded = load_release(release)
    made = UserSegments(loaded, ["plan", "gone"])
    made.add(["u0", "stranger"])
    lengths = np.diff(loaded.histories.ends)
    assert made.activity == {"u0": pytest.approx(np.log1p(lengths[0])), "stranger": 0.0}
    by_name = {part.name: part for part in made.segments()}
    assert list(by_name) == [
        "without ratings before",
        "less active half",
        "more active half",
        "plan: free",
        "plan: paid",
        "plan: not known",
    ]
    assert {part.of for part in made.segments()} == {6}
    assert by_name["plan: free"].users == {"u0"}
    assert by_name["plan: not known"].users == by_name["without ratings before"].users == {"stranger"}
    everybody = [f"u{row}" for row in range(USERS)]
    made.add(everybody)
    halves = [len(by_name[name].users) for name in ("less active half", "more active half")]
    middle = np.median(lengths[lengths > 0])
    assert halves == [int(((lengths > 0) & (lengths <= middle)).sum()), int((lengths > middle).sum())]


@pytest.mark.parametrize("kind", ["split", "interleaved"])
def test_an_effect_on_one_segment_is_found_there_at_the_divided_alpha(
    release: Path, tmp_path: Path, kind: str
) -> None:
    """Those who pay like the new arm's lists much better; nobody else does."""
    store = EventStore(f"sqlite:///{tmp_path / 'events.db'}")
    store.create_tables()
    arms = (ArmSpec("old", str(release), 0.5), ArmSpec("new", str(release), 0.5))
    state = ExperimentState("main", 0, "salt", arms, kind=kind)  # type: ignore[arg-type]
    state = store.save_experiment(state, expected=0, actor="test", at=0.0)
    assigner, random = Assigner(state), np.random.default_rng(3)
    shown, done = [], []
    for number in range(USERS):
        name, user = f"x{number}", f"u{number}"
        arm = assigner.assign(user).arm
        likes_new = number % 3 == 1
        teams = ("old", "new") if kind == "interleaved" else ()
        items = ("i1", "i2")
        shown.append(
            Exposure(
                name, NOW - 500, user, "main", arm, 1, "r", items, (4.0, 3.0), "personal", 5.0, teams=teams
            )
        )
        better = likes_new and (arm == "new" or kind == "interleaved")
        if random.random() < (0.8 if better else 0.2):
            item = "i2" if likes_new else items[random.integers(2)]
            done.append(Feedback(f"f{number}", name, user, "click", item, None, NOW - 490, None))
    store.add(exposures=shown, feedback=done)
    settings = OperationSettings(window_seconds=100.0, segments=("plan",))
    running = Operations(store, resolve=Path, notify=print, settings=settings, clock=lambda: NOW)
    running.tick()
    rows = running.results("main")["segments"]
    assert len(rows) == 6
    assert {row["interval"]["alpha"] for row in rows if row["interval"]} == {0.05 / 6}
    words = {row["segment"]: row["verdict"]["words"] for row in rows}
    assert {row["verdict"]["decision"] for row in rows if row["segment"].startswith("plan")} == {"secondary"}
    assert words["plan: paid"].startswith("Secondary, decides nothing: differs, +")
    assert "no difference" in words["plan: free"]
    assert "no difference" in words["plan: not known"]
    assert all(row["primary"] is False for row in rows)
    store.close()
