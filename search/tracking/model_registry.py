"""Releases as model versions: ``models:/NAME@champion`` is a release folder, without pickles.

A version's source is the release itself. In a local store that is the folder where it lies, so that
nothing is copied; to a server it is uploaded as the run's artifact ``release/``. Beside it goes
``gate.npz``, what the release said of the gate pairs, for the next release to be compared with.
The first release to be judged becomes candidate and champion, a later one candidate when it beats the
champion; who becomes champion then is for a roll-out to say.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from recsys.types import JsonObject
from search.tracking.promotion import GateAnswers, Predict, Promotion, evaluate_promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient

CANDIDATE, CHAMPION = "candidate", "champion"
GATE_FILE = "gate.npz"
RELEASE_FOLDER = "release"
RELEASE_TAG = "release_id"
ANSWER_TAG = "gate.answer"  # the verdict whole, as JSON: set last, so that a version that has it is done


def model_name(dataset: str) -> str:
    """The registered model of a dataset's releases, e.g. "recommender-ml-100k"."""
    return "recommender-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.") or "dataset")


class Registry:
    """The model registry at one MLflow address. Methods raise what MLflow raises."""

    def __init__(self, client: MlflowClient, *, local: bool) -> None:
        self._client = client
        self._local = local

    def register(self, entry: JsonObject, *, run_id: str, run_folder: Path) -> JsonObject:
        """Make the version and judge it: the promotion's verdict, and the version's name and number.

        Doing it again for the same release changes nothing and gives the same answer.
        """
        name, release_id = entry["model"], entry["release_id"]
        release, gate = run_folder / entry["release"], run_folder / entry["gate"]
        self._ensure_model(name)
        made = self._find(name, release_id)
        if made is not None and ANSWER_TAG in made.tags:
            answer: JsonObject = json.loads(made.tags[ANSWER_TAG])
            return answer
        champion = self._version(name, CHAMPION)
        promotion = self._judge(gate, champion)
        version = str(made.version) if made else self._create(name, entry, release, gate, run_id)
        if promotion.promoted:
            self._client.set_registered_model_alias(name, CANDIDATE, version)
            if champion is None:
                self._client.set_registered_model_alias(name, CHAMPION, version)
        answer = {**promotion.to_json(), "model": name, "version": version}
        for tag, value in {**_tags(promotion), ANSWER_TAG: json.dumps(answer)}.items():
            self._client.set_model_version_tag(name, version, tag, value)
        return answer

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.get_registered_model(name)
        except Exception:  # not there: MLflow has no way of asking without raising
            self._client.create_registered_model(
                name, description="Release folders made by search/breakthrough.py; see the aliases."
            )

    def _version(self, name: str, alias: str) -> Any | None:
        model = self._client.get_registered_model(name)
        number = model.aliases.get(alias)
        return self._client.get_model_version(name, number) if number else None

    def _find(self, name: str, release_id: str) -> Any | None:
        for version in self._client.search_model_versions(f"name='{name}'"):
            if version.tags.get(RELEASE_TAG) == release_id:
                return version
        return None

    def _create(self, name: str, entry: JsonObject, release: Path, gate: Path, run_id: str) -> str:
        if gate.is_file():
            self._client.log_artifact(run_id, str(gate))
        if self._local:
            source = release.resolve().as_uri()
        else:
            self._client.log_artifacts(run_id, str(release), RELEASE_FOLDER)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{RELEASE_FOLDER}"
        version = self._client.create_model_version(
            name,
            source,
            run_id=run_id,
            tags={RELEASE_TAG: entry["release_id"], **entry.get("tags", {})},
            await_creation_for=0,
        )
        return str(version.version)

    def _judge(self, gate: Path, champion: Any | None) -> Promotion:
        if not gate.is_file():
            return Promotion(False, "this run's split keeps no gate slice, so nothing can be judged on it")
        new = GateAnswers.load(gate)
        if champion is None:
            return evaluate_promotion(new, None)
        name = f"{champion.name} version {champion.version}"
        with tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(champion.run_id, GATE_FILE, folder)
            theirs = GateAnswers.load(Path(path))
        later = new.times > theirs.times.max(initial=-1)
        if not later.any():
            return evaluate_promotion(new, theirs, champion_name=name)
        with tempfile.TemporaryDirectory() as folder:
            predict, last = self._champions_release(champion, folder)
            return evaluate_promotion(new, theirs, champion_name=name, predict=predict, last_timestamp=last)

    def _champions_release(self, champion: Any, folder: str) -> tuple[Predict, int | None]:
        """The champion's own release, to be asked about ratings that came after it."""
        from recsys.release.load import load_release

        if self._local:
            path = local_folder(champion.source)
        else:
            path = Path(self._client.download_artifacts(champion.run_id, RELEASE_FOLDER, folder))
        release = load_release(path)
        return release_predict(release), release.manifest.dataset.last_timestamp


def local_folder(source: str) -> Path:
    """The folder of a file URI."""
    return Path(url2pathname(urlsplit(source).path))


def release_predict(release: Any) -> Predict:
    """Predicted stars of a release for (user id, item id) pairs; NaN for an item it does not know."""
    from recsys.release.queries import Query
    from recsys.release.recommender import Recommender

    recommender = Recommender(release)

    def predict(users: NDArray[np.str_], items: NDArray[np.str_]) -> NDArray[np.float32]:
        found = np.full(len(users), np.nan, dtype=np.float32)
        rows = np.array([_row(release.items.ids, item) for item in items.tolist()], dtype=np.int64)
        order = np.argsort(users, kind="stable")
        names, starts = np.unique(users[order], return_index=True)
        for user, places in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
            places = places[rows[places] >= 0]
            if len(places):
                row = _row(release.users, user)
                found[places] = recommender.predict(Query(user=row if row >= 0 else None), rows[places])
        return found

    return predict


def _row(ids: Any, name: str) -> int:
    row = ids.row(name)
    return -1 if row is None else int(row)


def _tags(promotion: Promotion) -> dict[str, str]:
    values = {
        "gate.verdict": "promoted" if promotion.promoted else "kept back",
        "gate.reason": promotion.reason,
        "gate.ratings": promotion.ratings,
        "gate.rmse": promotion.rmse,
        "gate.champion": promotion.champion,
        "gate.champion_rmse": promotion.champion_rmse,
        "gate.difference": promotion.difference,
        "gate.low": promotion.low,
        "gate.high": promotion.high,
    }
    return {name: str(value) for name, value in values.items() if value is not None}
