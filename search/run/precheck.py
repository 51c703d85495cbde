"""Checks of a request on this machine, before anything is rented: plan, overrides, data, split, bounds.

Nothing is downloaded and no request is sent. A file or folder of ratings is read (the cluster would read it
too); a release of MovieLens is known by its size.
"""

from __future__ import annotations

from pathlib import Path

from recsys.bounds import DataShape
from recsys.data.event_store import split_source
from recsys.data.loading import home_path, locate
from recsys.data.protocols import parse_protocol
from recsys.data.releases import RELEASES, unknown_name
from recsys.data.splits import make_split, training_data
from recsys.data.synthetic import PREFIX, parse_spec
from recsys.errors import InputError
from search.config.plan import SUBJECT, SearchPlan
from search.config.template import load_template
from search.run.previous_run import PreviousRun
from search.run.run_plan import budget_of, resumed_plan
from search.run.search_request import SearchRequest
from search.sampling.search_space import Space, shape_of
from search.sampling.trial_factory import TrialFactory, subject_template
from search.sampling.trial_slots import trial_sequence
from search.storage.run_dir import RunFolder

FOLDED = "ml-100k"  # the release with published folds


def check_request(request: SearchRequest) -> None:
    """Refuse what the search itself would refuse after its start.

    Raises:
        InputError: with the value, what was expected and what to do.
    """
    if request.resume:
        resumed_plan(RunFolder.at(request.out), request.changes or {})
        return
    plan = request.plan
    if plan is None or request.source is None:
        raise InputError("a new run needs a plan and its data")
    protocol = parse_protocol(plan.split)
    if plan.small_batch:
        raise InputError("small_batch is true, but a GPU's own row in the cluster YAML says so: leave it out")
    budget_of(plan)
    points = [(point.family, point.config) for point in map(load_template, plan.points)]
    sequence = trial_sequence(plan, start_families=[family for family, _ in points])
    for path, option in ((request.warm_start, "--warm-start"), (request.start_from, "--start-from")):
        if path is not None:
            PreviousRun.read(path, option=option)
    data = request.source.data
    if not data.strip():
        raise InputError("--data is empty, expected a release, a file, a folder or synthetic:...")
    request.source.require_events()
    if split_source(data) is not None:
        raise InputError(
            f"--data {data}: an event store is read on this machine alone; for a rented cluster write its "
            "ratings with `python -m serving data ratings --run RUN --events EVENTS --out FILE.parquet`, and "
            "give that file"
        )
    for option, table in (("items", request.source.items), ("users", request.source.users)):
        if table is not None and not home_path(table).is_file():
            raise InputError(f"--{option} {table}: no such file; expected a table with an id column")
    if protocol.name == "folds" and data != FOLDED and (data in RELEASES or data.startswith(PREFIX)):
        raise InputError(f"split {plan.split}: the folds are those of {FOLDED}, and --data is {data}")
    if data.startswith(PREFIX):
        spec = parse_spec(data)
        check_bounds(plan, DataShape(users=spec.users, items=spec.items))
    elif data in RELEASES:
        check_bounds(plan, DataShape(RELEASES[data].users, RELEASES[data].items))
    elif is_file_name(data):
        locate(data)  # no such file, or not a kind that is read
        dataset = request.source.load()
        ratings = training_data(dataset, make_split(dataset, plan.split, seed=plan.seed))
        TrialFactory(plan, ratings, shape_of(dataset), sequence, points)
    else:
        raise unknown_name(data)


def is_file_name(data: str) -> bool:
    """Whether --data names something on this disk, and no release."""
    path = Path(data).expanduser()
    return path.exists() or len(path.parts) > 1 or bool(path.suffix)


def check_bounds(plan: SearchPlan, shape: DataShape) -> None:
    """The first door of the bounds: fixed fields that break one.

    Raises:
        InputError: with every broken bound.
    """
    subject_template(plan)
    Space(SUBJECT, shape, fixed=plan.fixed.get(SUBJECT, {}), small_batch=plan.small_batch).require_safe()
