"""Plans are read once and refuse what they do not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.errors import InputError
from recsys.models.myfm import family as myfm_family
from search.config.overrides import apply_changes, parse_assignment
from search.config.plan import FOLDER, SearchPlan, load_plan, make_plan
from search.config.yaml_io import named_file


def test_every_plan_that_comes_along_loads() -> None:
    paths = sorted(FOLDER.rglob("*.yaml"))
    assert len(paths) >= 2
    for path in paths:
        assert load_plan(path).trials >= 2
        assert path.read_text().startswith("# python search/breakthrough.py")


def test_a_plan_survives_being_written_and_read() -> None:
    plan = make_plan(
        {"families": {"hybrid_vae": 2, "bias": 1}, "fixed": {"hybrid_vae": {"dropout": 0.3}}}, {}
    )
    assert make_plan(plan.model_dump(mode="json"), {}) == plan


def test_set_reaches_the_plan_its_parts_and_the_model() -> None:
    changes = dict(
        parse_assignment(text)
        for text in ("trials=5", "pruning.grace_epochs=2", "dropout=0.25", "bias.patience=4")
    )
    plan = make_plan({}, changes)
    assert plan.trials == 5
    assert plan.pruning.grace_epochs == 2
    assert plan.pruning.reduction == SearchPlan().pruning.reduction
    assert plan.fixed == {"hybrid_vae": {"dropout": 0.25}, "bias": {"patience": 4}}


def test_shares_are_replaced_whole_or_one_by_one() -> None:
    given = {"families": {"hybrid_vae": 3, "bias": 1}}
    assert make_plan(given, {"families": {"hybrid_vae": 1}}).families == {"hybrid_vae": 1}
    assert make_plan(given, {"families.mf": 2}).families == {"hybrid_vae": 3, "bias": 1, "mf": 2}


@pytest.mark.parametrize(
    ("given", "changes", "message"),
    [
        ({"trails": 3}, {}, "did you mean trials"),
        ({"pruning": {"grace": 3}}, {}, "did you mean grace_epochs"),
        ({"pruning": 3}, {}, "expected its fields"),
        ({"trials": 1}, {}, "trials is 1"),
        ({"trials": "many"}, {}, "trials is 'many'"),
        ({"max_cost": -1}, {}, "max_cost is -1"),
        ({"families": {"hybrid_vea": 1}}, {}, "did you mean hybrid_vae"),
        ({"families": {"hybrid_vae": 0}}, {}, "shares sum to 0"),
        ({"fixed": {"hybrid_vae": {"dropot": 0.1}}}, {}, "did you mean dropout"),
        ({"objectives": ["rmse", "rmse"]}, {}, "one or two different"),
        ({}, {"epocs": 3}, "did you mean epochs"),
        ({}, {"hybrid_vae.latnet": 3}, "did you mean latent"),
        ({}, {"pruning.reducton": 3}, "did you mean reduction"),
        ({}, {"trials.more": 3}, "names nothing inside it"),
        ({}, {"dropout": "much"}, "dropout"),
    ],
)
def test_what_is_wrong_is_said(given: dict, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        make_plan(given, changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1e-3", 1e-3),
        ("a=-2.5E+4", -25000.0),
        ("a=3", 3),
        ("a=0.5", 0.5),
        ("a=x1e3", "x1e3"),
        ("a=[1e2]", [100.0]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: object) -> None:
    assert parse_assignment(text) == ("a", value)


@pytest.mark.parametrize("text", ["trials", "=3", "trials=[1,"])
def test_an_assignment_needs_a_key_and_a_value(text: str) -> None:
    with pytest.raises(InputError):
        parse_assignment(text)


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    for content, message in (("trials: [", "not readable YAML"), ("- 1", "holds a list")):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_plan(path)
    with pytest.raises(InputError, match="there is no plan"):
        load_plan(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="did you mean quick"):
        named_file("quik", FOLDER, kind="plan")


def test_nested_changes_leave_the_rest() -> None:
    before = {"a": {"b": 1, "c": 2}, "d": 3}
    assert apply_changes(before, {"a": {"b": 5}, "d": 4}) == {"a": {"b": 5, "c": 2}, "d": 4}
    assert before == {"a": {"b": 1, "c": 2}, "d": 3}


def test_a_family_without_its_library_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(myfm_family, "NEEDED", ("a_library_that_is_not_there",))
    plan = tmp_path / "plan.yaml"
    plan.write_text("families: {hybrid_vae: 1, myfm: 1}\n")
    with pytest.raises(InputError, match=r"a_library_that_is_not_there cannot be imported"):
        load_plan(plan)
    plan.write_text("families: {hybrid_vae: 1, myfm: 0}\n")
    assert load_plan(plan).families["hybrid_vae"] == 1


def test_lengths_of_lists_hold_the_one_that_targets_are_judged_at() -> None:
    assert make_plan({}, {}).at == (10,)
    for given in ("5,10,20,100", [5, 20, 100, 5], "5, 20,100"):
        plan = make_plan({}, {"at": given})
        assert plan.at == (10, 5, 20, 100)
        assert make_plan(plan.model_dump(mode="json"), {}) == plan
    assert make_plan({}, {"at": 3}).at == (10, 3)
    for wrong, message in (
        ("5,ten", "expected lengths of a list, e.g. 5,10,20,100"),
        ("0", "greater than or equal to 1"),
    ):
        with pytest.raises(InputError, match=message):
            make_plan({}, {"at": wrong})
