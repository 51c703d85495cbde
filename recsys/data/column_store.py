"""A parsed dataset on disk as plain columns, mapped into memory when opened.

One folder: a ``.npy`` file a column and ``about.json``. Opening 32 million ratings touches only headers,
and every process on the machine shares the same pages. The folder's name is a fingerprint of what it was
parsed from (path, size, time of change, options), so that a changed source is parsed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from recsys.data.cache import atomic_folder
from recsys.data.dataset import Catalogue, Dataset, Quality
from recsys.data.item_encoder import ItemEncoder
from recsys.data.ratings import Ratings, RatingScale
from recsys.data.user_groups import UserGroups

FORMAT = 5  # raise when parsing or this layout changes, so that old folders are not read
COLUMNS = ("users", "items", "values", "times")
QUALITIES = TypeAdapter(Quality)
ENCODERS: TypeAdapter[ItemEncoder | None] = TypeAdapter(ItemEncoder | None)
TABLES = ("user_ids", "item_ids", "user_features", "item_features")


def store_folder(cache: Path, files: Sequence[Path], options: Sequence[object]) -> Path:
    """Where the columns parsed from ``files`` with ``options`` belong."""
    paths = [path.resolve() for path in files]
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    source = short_hash(str(paths[0]))
    return cache / "columns" / f"{source}-{short_hash(json.dumps([FORMAT, states, list(map(str, options))]))}"


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def save_dataset(folder: Path, dataset: Dataset) -> None:
    """Write ``dataset`` and forget what was parsed earlier from an older state of the same source."""
    arrays: dict[str, NDArray[Any] | None] = {name: getattr(dataset.ratings, name) for name in COLUMNS}
    arrays |= {
        "user_ids": dataset.user_ids,
        "item_ids": dataset.catalogue.ids,
        "user_features": dataset.user_features,
        "item_features": dataset.item_features,
    }
    about = {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "licence": dataset.licence,
        "source": dataset.source,
        "noise_floor": dataset.noise_floor,
        "scale": asdict(dataset.ratings.scale),
        "quality": asdict(dataset.quality),
        "item_encoder": None if dataset.item_encoder is None else asdict(dataset.item_encoder),
        "titles": list(dataset.catalogue.titles),
        "genres": ["|".join(names) for names in dataset.catalogue.genres],
        "arrays": [name for name, array in arrays.items() if array is not None],
    }
    with atomic_folder(folder) as work:
        for name, array in arrays.items():
            if array is not None:
                write_array(work / f"{name}.npy", array)
        if dataset.user_groups is not None:
            dataset.user_groups.save(work)
        (work / "about.json").write_text(json.dumps(about), encoding="utf-8")
    for older in folder.parent.glob(f"{folder.name.split('-')[0]}-*"):
        if older != folder:
            shutil.rmtree(older, ignore_errors=True)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """``np.save`` in slices: a full disk then is an ``OSError`` that says so."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(array))
        np.lib.format.write_array_header_1_0(file, header)
        rows = max(1, (1 << 24) // max(1, array[:1].nbytes))
        for start in range(0, len(array), rows):
            file.write(np.ascontiguousarray(array[start : start + rows]).tobytes())
        file.flush()
        os.fsync(file.fileno())


def open_dataset(folder: Path) -> Dataset | None:
    """The dataset stored in ``folder``, mapped read-only; None where there is none, or a broken one."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        arrays = {
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
            for name in about["arrays"]
        }
        return replace(assemble(about, arrays), user_groups=UserGroups.load(folder))
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def assemble(about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Dataset:
    return Dataset(
        name=about["name"],
        ratings=Ratings(
            users=arrays["users"],
            items=arrays["items"],
            values=arrays["values"],
            times=arrays.get("times"),
            scale=RatingScale(**about["scale"]),
            user_count=len(arrays["user_ids"]),
            item_count=len(arrays["item_ids"]),
        ),
        user_ids=arrays["user_ids"],
        catalogue=Catalogue(
            ids=arrays["item_ids"],
            titles=about["titles"],
            genres=[tuple(names.split("|")) if names else () for names in about["genres"]],
        ),
        sha256=about["sha256"],
        licence=about["licence"],
        quality=QUALITIES.validate_python(about["quality"]),
        user_features=arrays.get("user_features"),
        item_features=arrays.get("item_features"),
        item_encoder=ENCODERS.validate_python(about["item_encoder"]),
        source=about["source"],
        noise_floor=about["noise_floor"],
    )
