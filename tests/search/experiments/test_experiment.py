"""The experiment manager: the plan's own commands, every refusal, comparisons and reviews."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from recsys.data.data_spec import DataSpec
from recsys.data.splits import make_split
from recsys.errors import InputError
from search.experiment import main
from search.experiments import review
from search.experiments.create import request_of, seeds_of
from search.experiments.experiment_spec import read_spec
from search.report.review_page import review_text, write_review
from search.results import write_results
from search.results.build import start_results
from search.results.metrics import Metrics
from tests.search.made_runs import make_run

pytestmark = pytest.mark.slow

SMALL = "synthetic:users=200,items=120,ratings=5000"


def command(home: Path, *arguments: str) -> int:
    return main(["--home", str(home), *arguments])


def test_the_plans_two_commands_work_as_they_are_written(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "search" / "experiment.py"
    first = f"{sys.executable} {script} create hybrid_vae_optimized rmse_breakthrough"
    second = (
        f"{sys.executable} {script} create hybrid_vae_optimized ensemble_model_1 \\\n"
        """  --modifications '{"training": {"seed": 42}}'"""
    )
    subprocess.run(f"{first} && {second}", shell=True, cwd=tmp_path, check=True, capture_output=True)
    plain, seeded = (read_spec(tmp_path / "runs", name) for name in ("rmse_breakthrough", "ensemble_model_1"))
    assert (plain.seed, seeded.seed) == (0, 42)
    assert plain.config == seeded.config
    assert (plain.config["factors"], plain.config["hidden"], plain.epochs) == (200, [640, 384, 192], 150)
    text = (tmp_path / "runs" / "experiments" / "ensemble_model_1.yaml").read_text()
    assert text.startswith("# python search/experiment.py run ensemble_model_1\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("create", "hybrid_vae_optimised", "x"), "did you mean hybrid_vae_optimized"),
        (
            ("create", "hybrid_vae_optimized", "x", "--modifications", '{"training": {"sed": 1}}'),
            "did you mean seed",
        ),
        (
            ("create", "hybrid_vae_optimized", "x", "--modifications", '{"trainin": {}}'),
            "did you mean training",
        ),
        (("create", "hybrid_vae_optimized", "x", "--modifications", "{'a'}"), "is not JSON"),
        (("create", "hybrid_vae_optimized", "x", "--modifications", "[1]"), "expected an object"),
        (
            ("create", "hybrid_vae_baseline", "x", "--modifications", '{"training": {"kl_weight": 0.02}}'),
            "kl_weight 0.02 is above 0.015 (the formula has 0.01)",
        ),
        (
            (
                "create",
                "hybrid_vae_baseline",
                "x",
                "--modifications",
                '{"model": {"factors": 400, "latent": 99}}',
            ),
            "factors 400 is above 225 (the formula has 150); latent 99 is above 96",
        ),
        (
            ("create", "hybrid_vae_baseline", "x", "--modifications", '{"training": {"epochs": 0}}'),
            "epochs is 0",
        ),
        (("create", "hybrid_vae_baseline", "../x"), "is no name for an experiment"),
        (("create", "hybrid_vae_baseline", "there"), "there is an experiment 'there' already"),
        (("run", "ther"), "did you mean there?"),
        (("show", "nothing_like_it"), "there are: there"),
        (("run", "there", "--seeds", "three"), "expected a number such as 3"),
        (("run", "there", "--seeds", "4,4"), "different seeds"),
        (("run", "there", "--notify", "planted-nonsense"), "the webhook is not a URL"),
        (("run", "there", "--max-cost", "-1"), "max_cost"),
        (("run", "there", "--resume"), "holds no run"),
        (("compare", "there"), "two names or more"),
        (("review", "--since", "soon"), "expected a time such as 24h"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert command(tmp_path, "create", "hybrid_vae_baseline", "there", "--data", SMALL) == 0
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert command(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert "planted" not in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model: [", "is not readable YAML"),
        ("model: {}", "names no family"),
        ("family: hybrid_vae\nmodle: {}", "model"),
    ],
)
def test_a_broken_template_is_refused_clearly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    template = tmp_path / "mine.yaml"
    template.write_text(text)
    assert command(tmp_path, "create", str(template), "x") == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert "mine.yaml" in error


@pytest.mark.parametrize("change", [{"seed": "x"}, {"extra": 1}, {"config": None}])
def test_a_card_that_was_broken_by_hand_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    command(tmp_path, "create", "hybrid_vae_baseline", "there")
    path = tmp_path / "experiments" / "there.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(InputError, match=next(iter(change))):
        read_spec(tmp_path, "there")


def test_seeds_become_trials_of_one_run_through_the_searchs_own_path(tmp_path: Path) -> None:
    command(tmp_path, "create", "hybrid_vae_optimized", "three", "--data", SMALL)
    request, note = request_of(tmp_path, "three", seeds="3", changes={"max_hours": 1.0})
    assert [(spec.number, spec.seed, spec.prunable, spec.origin) for spec in request.specs] == [
        (0, 0, False, "experiment"), (1, 1, False, "experiment"), (2, 2, False, "experiment"),
    ]  # fmt: skip
    assert request.out == tmp_path / "experiments" / "three"
    assert request.plan is not None
    assert request.plan.max_hours == 1.0
    assert "three, scaled: 200 factors would be more than 1.5 x" in note
    assert request.specs[0].config["factors"] < 200
    assert seeds_of(read_spec(tmp_path, "three"), "42,123,7") == [42, 123, 7]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two experiments that were run on the same synthetic ratings, one a little better, and a waiting one."""
    source = DataSpec(SMALL)
    dataset = source.load()
    split = make_split(dataset, "random", seed=0)
    random = np.random.default_rng(0)
    truth = dataset.ratings.values[split.valid]
    for name, noise in (("plain", 0.8), ("better", 0.6), ("waiting", 0.0)):
        template = "hybrid_vae_optimized" if name == "better" else "hybrid_vae_baseline"
        assert command(tmp_path, "create", template, name, "--data", SMALL) == 0
        if not noise:
            continue
        folder = tmp_path / "experiments" / name
        run = make_run(folder, trials=2)
        best = dataclasses.replace(run.trials[0], folder="trials/0000")
        results = start_results(
            name=name, command=[], started=time.time(), plan=run.results.plan, dataset=dataset, split=split,
            trials=[best],
        )  # fmt: skip
        assert run.results.best is not None
        figures = Metrics(loss=noise**2, rmse=noise)
        results.best = run.results.best.model_copy(update={"trial": 0, "valid": figures})
        write_results(folder, results, [best])
        (folder / "run.json").write_text(json.dumps({"created": time.time(), "source": source.to_json()}))
        (folder / "trials" / "0000").mkdir(parents=True)
        np.save(
            folder / best.folder / "valid.npy",
            (truth + random.normal(0, noise, len(truth))).astype(np.float32),
        )
    return tmp_path


def test_compare_shows_figures_differences_and_a_paired_test(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command(home, "compare", "plain", "better") == 0
    text = capsys.readouterr().out
    assert "valid loss  valid rmse" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["factors"] == ["factors", "150", "200"]
    assert lines["hidden"] == ["hidden", "512-256-128", "640-384-192"]
    assert "latent" in lines
    assert "gradient_clip" not in lines
    result = [line for line in text.splitlines() if line.startswith("better against plain, valid rmse: -0.")]
    assert len(result) == 1
    assert result[0].endswith("better.")
    assert command(home, "compare", "plain", "waiting") == 0
    assert "waiting against plain: not both have been run." in capsys.readouterr().out


def test_list_and_show_say_how_each_stands(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert command(home, "list") == 0
    rows = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows == {"plain": "finished", "better": "finished", "waiting": "created"}
    assert command(home, "show", "plain") == 0
    shown = capsys.readouterr().out
    assert "template: hybrid_vae_baseline" in shown
    assert "best searched model" in shown
    assert command(home, "show", "waiting") == 0
    assert "not run yet: python search/experiment.py run waiting" in capsys.readouterr().out


def test_a_review_says_what_ran_what_was_learnt_and_what_to_try(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command(home, "review", "--since", "7d") == 0
    text = capsys.readouterr().out
    assert "synthetic, random: the best is better, valid loss 0.3600, rmse 0.6000" in text
    assert "waiting has not been run: python search/experiment.py run waiting" in text
    assert "Not measured yet (Precision@10, NDCG@10)" in text
    page = next((home / "reviews").glob("*.html")).read_text()
    assert "better <small>experiment</small>" in page
    assert "http" not in page.replace("http-equiv", "")

    later = review.review(home, since_s=60.0, now=time.time() + 3600)
    assert (later.ran, later.waiting) == ((), ())
    assert "Nothing was run." in review_text(later)
    assert "Nothing was run." in write_review(home / "empty.html", later).read_text()


def test_a_review_learns_from_warnings_edges_and_the_run_before(home: Path) -> None:
    for name, age, offset in (("before", 9, 0.02), ("search", 1, 0.0)):
        run = make_run(home / name, trials=24)
        trials = []
        for trial in run.trials:
            reports = tuple(
                dataclasses.replace(report, rmse=report.rmse - 0.002 * report.epoch)
                for report in trial.reports
            )
            best = len(reports) if trial.best_epoch else None
            rmse = None if trial.rmse is None else trial.rmse + offset
            trials.append(dataclasses.replace(trial, reports=reports, best_epoch=best, rmse=rmse))
        started = run.having(started=time.time() - age * 86_400)
        dataclasses.replace(started, trials=tuple(trials)).write()
        (home / name / "run.json").write_text(json.dumps({"created": time.time() - age * 86_400}))
    result = review.review(home, since_s=review.parse_since("1w"), now=time.time())
    assert [entry.name for entry in result.ran] == ["search", "plain", "better"]
    learnt, ideas = "\n".join(result.learnt), "\n".join(result.next)
    assert "best before this time" in learnt
    assert "explains" in learnt
    assert "1 times train valid gap" in learnt
    assert "still getting better at its last epoch" in ideas
    assert "1 trials failed" in ideas
    assert "search missed: Stability." in ideas


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86_400), ("7d", 604_800), ("1.5w", 907_200), ("1m", 2_592_000)]
)
def test_since_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert review.parse_since(text) == seconds
