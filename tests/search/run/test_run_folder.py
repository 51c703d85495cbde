"""A run's folder: nothing lost, nothing twice, nothing half-written, one process at a time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recsys.errors import InputError
from recsys.training.trial_types import EventKind, RunEvent, TrialSpec
from search.config.plan import SearchPlan
from search.run.search_request import SearchRequest
from search.run.setup import prepare
from search.storage.run_dir import RunFolder
from search.storage.trial_dir import read_result, write_failure

OLD_RUN = Path(__file__).parents[2] / "end_to_end" / "old_runs" / "version-1"


def spec(number: int, **more: object) -> TrialSpec:
    return TrialSpec(number, f"trial-{number}", "bias", {"patience": 3}, epochs=2, seed=1, **more)


def test_what_was_asked_comes_back(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    plan = SearchPlan(trials=7, families={"hybrid_vae": 2.0, "bias": 1.0})
    run.write_plan(plan, {"sha256": "abc", "seconds": 1.5})
    assert run.read_plan() == plan
    assert run.read_about() == {"sha256": "abc", "seconds": 1.5}


def test_the_journal_keeps_each_number_once_and_leaves_out_a_torn_line(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.journal(spec(0), None)
    run.journal(spec(1), {"user_damping": 0.1 + 0.2})
    run.journal(spec(1), {"user_damping": 0.1 + 0.2})
    with open(run.path / "proposals.jsonl", "a") as file:
        file.write('{"spec": {"number": 2, "na')
    assert run.proposals() == [(spec(0), None), (spec(1), {"user_damping": 0.1 + 0.2})]


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    with open(run.path / "proposals.jsonl", "a") as file:
        file.write('{"spec": {"number": 0, "na')
    run.journal(spec(1), None)
    assert [result.number for result, _ in run.proposals()] == [1]


def test_events_come_back(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    event = RunEvent(EventKind.GAP, at=1.25, trial=3, epoch=2, value=0.2, threshold=0.15, message="gap")
    run.event(event)
    assert run.events() == [event]


@pytest.mark.parametrize("lost", [None, "member/member.json", "member/arrays.safetensors", "valid.npy"])
def test_a_result_without_its_member_is_a_trial_to_train_again(tmp_path: Path, lost: str | None) -> None:
    """A head that dies in mid-fetch may leave a result whose files had not come yet."""
    shutil.copytree(OLD_RUN, tmp_path / "run")
    trial = tmp_path / "run" / "trials" / "0004"
    if lost is not None:
        (trial / lost).unlink()
    context = prepare(SearchRequest(out=tmp_path / "run", resume=True))
    done = [proposal.spec.number for proposal, _ in context.work.done]
    unfinished = [proposal.spec.number for proposal in context.work.unfinished]
    assert (4 in done, 4 in unfinished) == (lost is None, lost is not None)
    context.open_folder().close()
    assert (trial / "result.json").exists() == (lost is None)


def test_a_failure_is_a_result_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "trials" / "0003"
    write_failure(folder, spec(3, origin="search"), error="ValueError: no")
    result = read_result(folder)
    assert result.spec == spec(3, origin="search")
    assert (result.status.value, result.error, result.folder) == ("failed", "ValueError: no", "trials/0003")


def test_only_one_process_holds_a_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(SearchPlan(), {})
    with pytest.raises(InputError, match="in use by another process"):
        RunFolder.resume(tmp_path / "run")
    run.close()
    RunFolder.resume(tmp_path / "run").close()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        RunFolder.create(tmp_path / "other")
    run = RunFolder.create(tmp_path / "run")
    run.write_plan(SearchPlan(), {})
    run.close()
    with pytest.raises(InputError, match=r"already holds a run.*--resume"):
        RunFolder.create(tmp_path / "run")
    with pytest.raises(InputError, match="holds no run"):
        RunFolder.resume(tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run")
