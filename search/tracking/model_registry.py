"""Releases as model versions: ``models:/NAME@champion`` is a release folder, without pickles.

A version's artifacts never change: they lie under the release's own id (the hash of its files), in a local
store in ``registry/RELEASE_ID`` beside the runs, on a server in the run's artifacts. A refit that replaces a
run's ``release/`` is another id and another version. Beside them goes ``gate.npz``, what the release said of
the gate pairs, for the next release to be compared with.

A model holds the releases of one data set and of what it grew from: its name carries the hash of the first
one's files, and a release of other data under the same name becomes a model of its own.
The first release to be judged becomes candidate and champion, a later one candidate when it beats the
champion; who becomes champion then is for a roll-out to say.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.types import JsonObject
from search.tracking.promotion import GateAnswers, Predict, Promotion, evaluate_promotion, shared_ratings

if TYPE_CHECKING:
    from mlflow import MlflowClient

CANDIDATE, CHAMPION = "candidate", "champion"
GATE_FILE = "gate.npz"
RELEASES_FOLDER, GATES_FOLDER = "releases", "gates"  # of a run's artifacts, by release id
REGISTRY_FOLDER = "registry"  # beside the runs, where the store is local
RELEASE_TAG = "release_id"
CHAMPION_TAG = "gate.champion"
DATASET_TAG = "dataset.sha256"
IDENTITY = 8  # hexadecimal digits of the dataset's hash in a model's name
GROWN = 0.9  # of the older gate's pairs, rated the same: then the newer data set has grown from the older one
ANSWER_TAG = "gate.answer"  # the verdict whole, as JSON: set last, so that a version that has it is done


def model_name(dataset: str, sha256: str = "") -> str:
    """The registered model of a dataset's releases, e.g. "recommender-ml-100k-50d2a982".

    Args:
        dataset: The dataset's name.
        sha256: The hash of its files; without it, what the names of all models of such a name begin with.
    """
    name = "recommender-" + (re.sub(r"[^A-Za-z0-9._-]+", "-", dataset).strip("-.") or "dataset")
    return f"{name}-{sha256[:IDENTITY]}" if sha256 else name


class Registry:
    """The model registry at one MLflow address. Methods raise what MLflow raises."""

    def __init__(self, client: MlflowClient, *, local: bool) -> None:
        self._client = client
        self._local = local

    def register(self, entry: JsonObject, *, run_id: str, run_folder: Path) -> JsonObject:
        """Make the version and judge it: the promotion's verdict, and the version's name and number.

        Idempotent: again for the same release, nothing changes and the answer is the same.
        """
        release_id = entry["release_id"]
        release, gate = run_folder / entry["release"], run_folder / entry["gate"]
        name = self._model_for(entry, gate)
        self._ensure_model(name)
        made = self._find(name, release_id)
        if made is not None and ANSWER_TAG in made.tags:
            answer: JsonObject = json.loads(made.tags[ANSWER_TAG])
            return answer
        champion = self._version(name, CHAMPION)
        promotion = self._judge(gate, champion, attempt=self._attempt(name, champion))
        version = str(made.version) if made else self._create(name, entry, release, gate, run_id)
        if promotion.promoted:
            self._client.set_registered_model_alias(name, CANDIDATE, version)
            if champion is None:
                self._client.set_registered_model_alias(name, CHAMPION, version)
        answer = {**vars(promotion), "model": name, "version": version}
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

    def _model_for(self, entry: JsonObject, gate: Path) -> str:
        """The model of this release's data: its own, or one whose data this one has grown from."""
        name, sha256 = str(entry["model"]), str(entry.get("tags", {}).get(DATASET_TAG, ""))
        models = {model.name for model in self._client.search_registered_models(f"name = '{name}'")}
        if name in models or not sha256:
            return name
        prefix = name.removesuffix(f"-{sha256[:IDENTITY]}")
        for model in self._client.search_registered_models(f"name LIKE '{prefix}%'"):
            if not re.fullmatch(rf"{re.escape(prefix)}(-[0-9a-f]{{{IDENTITY}}})?", model.name):
                continue
            champion = self._version(model.name, CHAMPION)
            if champion is not None and self._same_data(champion, sha256, gate):
                return str(model.name)
        return name

    def _same_data(self, champion: Any, sha256: str, gate: Path) -> bool:
        if champion.tags.get(DATASET_TAG) == sha256:
            return True
        if not gate.is_file():
            return False
        older = self._gate_of(champion)
        return older is not None and shared_ratings(GateAnswers.load(gate), older) >= GROWN

    def _gate_of(self, version: Any) -> GateAnswers | None:
        """A version's predictions on its gate; None where they were not stored."""
        release_id = version.tags.get(RELEASE_TAG, "")
        with tempfile.TemporaryDirectory() as folder:
            for path in (f"{GATES_FOLDER}/{release_id}/{GATE_FILE}", GATE_FILE):  # the second: older runs
                try:
                    return GateAnswers.load(
                        Path(self._client.download_artifacts(version.run_id, path, folder))
                    )
                except Exception:  # MLflow raises another one for each kind of store
                    continue
        return None

    def _attempt(self, name: str, champion: Any | None) -> int:
        """Which release this is that asks the gate about ``champion``, counted from 1."""
        if champion is None:
            return 1
        champion_tag = f"{champion.name} version {champion.version}"
        versions = self._client.search_model_versions(f"name='{name}'")
        return 1 + len([version for version in versions if version.tags.get(CHAMPION_TAG) == champion_tag])

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
        release_id = entry["release_id"]
        if gate.is_file():
            self._client.log_artifact(run_id, str(gate), f"{GATES_FOLDER}/{release_id}")
        if self._local:
            source = store_release(release, release_id).as_uri()
        else:
            artifact_path = f"{RELEASES_FOLDER}/{release_id}"
            self._client.log_artifacts(run_id, str(release), artifact_path)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{artifact_path}"
        version = self._client.create_model_version(
            name,
            source,
            run_id=run_id,
            tags={RELEASE_TAG: release_id, **entry.get("tags", {})},
            await_creation_for=0,
        )
        return str(version.version)

    def _judge(self, gate: Path, champion: Any | None, *, attempt: int) -> Promotion:
        if not gate.is_file():
            return Promotion(False, "this run's split keeps no gate slice, so nothing can be judged on it")
        new = GateAnswers.load(gate)
        if champion is None:
            return evaluate_promotion(new, None)
        name = f"{champion.name} version {champion.version}"
        theirs = self._gate_of(champion)
        if theirs is None:
            raise InputError(f"{name} has no {GATE_FILE}: nothing can be compared with it")
        later = new.times > theirs.times.max(initial=-1)
        if not later.any():
            return evaluate_promotion(new, theirs, champion_name=name, attempt=attempt)
        with tempfile.TemporaryDirectory() as folder:
            predict, last = self._champions_release(champion, folder)
            return evaluate_promotion(
                new, theirs, champion_name=name, predict=predict, last_timestamp=last, attempt=attempt
            )

    def _champions_release(self, champion: Any, folder: str) -> tuple[Predict, int | None]:
        """The champion's own release, to be asked about ratings that came after it."""
        from recsys.release.load import load_release

        if self._local:
            path = local_folder(champion.source)
        else:
            artifact_path = str(champion.source).split("/artifacts/", 1)[-1]
            path = Path(self._client.download_artifacts(champion.run_id, artifact_path, folder))
        release = load_release(path)
        expected = champion.tags.get(RELEASE_TAG)
        if expected and release.manifest.release_id != expected and _is_hash(expected):
            raise InputError(
                f"{champion.name} version {champion.version} is release {expected[:12]}, but "
                f"{champion.source} holds {release.manifest.release_id[:12]}: register that as a version"
            )
        return release_predict(release), release.manifest.dataset.last_timestamp


def store_release(release: Path, release_id: str) -> Path:
    """A copy of ``release`` under its id, made once and never changed: ``registry/ID`` beside the runs."""
    folder = release.resolve().parents[1] / REGISTRY_FOLDER / release_id
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
            made = Path(scratch) / "release"
            shutil.copytree(release, made)
            with contextlib.suppress(FileExistsError):  # another process kept the same one meanwhile
                made.rename(folder)
    return folder


def _is_hash(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{16,}", text) is not None


def local_folder(source: str) -> Path:
    """The folder of a file URI."""
    return Path(url2pathname(urlsplit(source).path))


def release_predict(release: Any) -> Predict:
    """Predicted stars of a release for (user id, item id) pairs; NaN for an item it does not know."""
    from recsys.release.queries import Query
    from recsys.release.recommender import Recommender

    recommender = Recommender(release)

    def predict(users: NDArray[np.str_], items: NDArray[np.str_]) -> NDArray[np.float32]:
        predictions = np.full(len(users), np.nan, dtype=np.float32)
        rows = np.array([_row(release.items.ids, item) for item in items.tolist()], dtype=np.int64)
        order = np.argsort(users, kind="stable")
        names, starts = np.unique(users[order], return_index=True)
        for user, indices in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
            indices = indices[rows[indices] >= 0]
            if len(indices):
                row = _row(release.users, user)
                predictions[indices] = recommender.predict(
                    Query(user=row if row >= 0 else None), rows[indices]
                )
        return predictions

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
        "gate.attempt": promotion.attempt,
        "gate.level": promotion.level,
    }
    return {name: str(value) for name, value in values.items() if value is not None}
