"""Making an experiment from a template, and running it as a search runs its trials."""

from __future__ import annotations

import json
from pathlib import Path

from recsys.bounds import DataShape, scale_into_bounds, violations
from recsys.data.data_spec import DataSpec, show_download
from recsys.errors import InputError
from recsys.models.hybrid_vae.config import HybridVaeConfig
from recsys.models.registry import make_config
from recsys.training.serialization import plain
from recsys.training.trial_types import TrialSpec
from recsys.types import JsonObject
from search.config.plan import make_plan
from search.config.template import load_template
from search.experiments.experiment_spec import ExperimentSpec, now_text, read_spec, run_path, write_spec
from search.run.search_request import SearchRequest
from search.sampling.search_space import shape_of

VAST = DataShape(users=10**9, items=10**9)  # where tables outweigh all: leaves the bounds that need no data
MOST_SEEDS = 20


def parse_modifications(text: str) -> JsonObject:
    """The JSON after --modifications. Raises InputError."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"--modifications is not JSON ({error.msg} at character {error.pos + 1}): expected for example "
            '\'{"training": {"seed": 42}}\''
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f'--modifications is {text}, expected an object such as \'{{"training": {{"seed": 42}}}}\''
        )
    return value


def create(
    home: Path,
    template: str,
    name: str,
    *,
    modifications: JsonObject,
    data: str | None = None,
    split: str | None = None,
) -> Path:
    """Write the card of a new experiment and return its path. Raises InputError for invalid settings."""
    loaded = load_template(template, modifications)
    config = make_config(loaded.family, loaded.config)
    if isinstance(config, HybridVaeConfig):
        _refuse_unsafe(config, VAST, where=f"{name}, made from {loaded.name},")
    card = ExperimentSpec(
        name=name,
        template=loaded.name,
        about=loaded.about,
        family=loaded.family,
        config=plain(config),
        epochs=loaded.epochs,
        seed=loaded.seed,
        modifications=modifications,
        data=data or "ml-100k",
        split=split or "random",
        created=now_text(),
    )
    return write_spec(home, card)


def seeds_of(card: ExperimentSpec, text: str | None) -> list[int]:
    """``--seeds``: a number of seeds counted from the card's own, or the seeds themselves, with commas."""
    if text is None:
        return [card.seed]
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds {text}: expected a number such as 3, or seeds such as 42,123,7") from None
    seeds = numbers if "," in text else [card.seed + index for index in range(numbers[0])]
    if not 1 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds {text}: expected 1 to {MOST_SEEDS} different seeds of 0 or more")
    return seeds


def request_of(
    home: Path,
    name: str,
    *,
    seeds: str | None = None,
    data: str | None = None,
    split: str | None = None,
    resume: bool = False,
    notify: str | None = None,
    changes: JsonObject | None = None,
    command: tuple[str, ...] = (),
) -> tuple[SearchRequest, str]:
    """The search request, and a line on what was scaled into the bounds ("" if nothing was)."""
    card = read_spec(home, name)
    out = run_path(home, name)
    if resume:
        return SearchRequest(out=out, resume=True, changes=changes, notify=notify, command=command), ""
    if out.exists():
        raise InputError(
            f"{name!r} has been run already ({out}): go on with it with --resume, or create another one"
        )
    source = DataSpec(data=data or card.data)
    config, note = _inside_bounds(card, source)
    numbers = seeds_of(card, seeds)
    specs = tuple(
        TrialSpec(
            number=index,
            name=f"{name}, seed {seed}",
            family=card.family,
            config=config,
            epochs=card.epochs,
            seed=seed,
            prunable=False,
            origin="experiment",
        )
        for index, seed in enumerate(numbers)
    )
    settings = {
        "name": name,
        "data": source.data,
        "split": split or card.split,
        "seed": card.split_seed,
        "trials": max(2, len(specs)),
        "epochs": card.epochs,
        "baselines": [],
        **(changes or {}),
    }
    plan = make_plan(settings, {})
    request = SearchRequest(out=out, plan=plan, source=source, notify=notify, command=command, specs=specs)
    return request, note


def _inside_bounds(card: ExperimentSpec, source: DataSpec) -> tuple[JsonObject, str]:
    """The card's config, its factors scaled down where it has too many parameters for the data."""
    config = make_config(card.family, card.config)
    if not isinstance(config, HybridVaeConfig):
        return card.config, ""
    shape = shape_of(source.load(show_download))
    _refuse_unsafe(config, shape, where=f"experiment {card.name}")
    scaled = scale_into_bounds(config, shape)
    if scaled == config:
        return card.config, ""
    return plain(scaled), (
        f"{card.name}, scaled: {config.factors} factors would be more than 1.5 x the formula's parameters on "
        f"{source.data}; {scaled.factors} fit"
    )


def _refuse_unsafe(config: HybridVaeConfig, shape: DataShape, *, where: str) -> None:
    """Raises InputError that lists every broken bound but the count of parameters, which is scaled into."""
    broken = [violation for violation in violations(config, shape) if violation.field != "parameters"]
    if broken:
        reasons = "; ".join(map(str, broken))
        raise InputError(f"{where} is outside the safe bounds: {reasons}. Bring what is named inside")
