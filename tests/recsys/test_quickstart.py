"""``import recsys``: the page docs/guide/python.md runs, and the interface agrees with what lies below it."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recsys
from recsys.errors import InputError
from recsys.release.load import load_release
from recsys.release.queries import Query
from recsys.release.recommender import Recommender
from tests.releases import make_dataset, make_release

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "python.md"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the page's files in it."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "runs" / "NAME").mkdir(parents=True)
    make_release(folder / "runs" / "NAME" / "release")
    ratings_frame().to_csv(folder / "ratings.csv", index=False)
    return folder


def ratings_frame() -> pd.DataFrame:
    dataset = make_dataset()
    ratings = dataset.ratings
    return pd.DataFrame(
        {
            "userId": dataset.user_ids[ratings.users],
            "movieId": dataset.catalogue.ids[ratings.items],
            "rating": ratings.values,
            "timestamp": ratings.times,
        }
    )


def test_the_page_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    text = "\n".join(line for line in PAGE.read_text().splitlines() if not line.startswith("```"))
    example = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(example.examples) >= 12
    lines: list[str] = []
    doctest.DocTestRunner().run(example, out=lines.append)
    assert "".join(lines) == ""


def test_lists_and_stars_are_the_recommenders(home: Path) -> None:
    folder = home / "runs" / "NAME" / "release"
    model, release = recsys.load_release(folder), load_release(folder)
    row = release.users.row("u3")
    (answer,) = Recommender(release).recommend([Query(user=row, count=4)])
    listed = model.recommend("u3", count=4)
    assert listed["item_id"].tolist() == [
        str(release.items.ids.names[entry.item]) for entry in answer.recommendations
    ]
    np.testing.assert_array_equal(
        model.predict("u3", listed["item_id"].tolist()),
        np.array([entry.predicted_rating for entry in answer.recommendations], dtype=np.float32),
    )
    stars, ends = Recommender(release).predict_interval(Query(user=row), np.arange(4))
    assert ends is not None
    named = [str(release.items.ids.names[item]) for item in range(4)]
    np.testing.assert_array_equal(model.predict_interval("u3", named), np.stack(ends, axis=1))
    assert (ends[0] < stars).all()


def test_what_is_wrong_is_said(home: Path) -> None:
    model = recsys.load_release(home / "runs" / "NAME" / "release", verify=False)
    with pytest.raises(InputError, match="unknown item 'nothing'"):
        model.predict("u3", ["nothing"])
    with pytest.raises(InputError, match="unknown item 'nothing'"):
        model.predict_interval("u3", ["nothing"])
    with pytest.raises(InputError, match=r"rating of 7: expected 0.5 to 5"):
        model.recommend(ratings={"i1": 7})
    with pytest.raises(InputError, match="did you mean"):
        recsys.train(ratings_frame(), "mf", config={"factor": 3})
    with pytest.raises(InputError, match="epochs is 0"):
        recsys.train(ratings_frame(), epochs=0)
    with pytest.raises(AttributeError, match="it offers"):
        recsys.nothing  # noqa: B018


def test_trained_models_predict_what_their_validation_says() -> None:
    frame = ratings_frame()
    trained = recsys.train(frame, "mf", config={"factors": 4}, epochs=3)
    pairs = frame.rename(columns={"userId": "user", "movieId": "item"})
    error = np.sqrt(np.square(trained.predict(pairs) - frame["rating"]).mean())
    assert error < frame["rating"].std()
    assert 1 <= trained.epoch <= 3
    strangers = trained.predict(pd.DataFrame({"user": ["nobody"], "item": ["i1"]}))
    assert 0.5 <= strangers[0] <= 5
