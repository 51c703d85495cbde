"""What a plan asks of a cluster, for the quote.

`python -m search.run.workload --plan NAME` prints it as JSON.

The plan is checked as a run would check it; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from clusters.forecast import Workload
from recsys.data.data_spec import DataSpec
from recsys.data.releases import RELEASES, ReleaseSize
from recsys.data.synthetic import PREFIX, SyntheticSpec, parse_spec
from recsys.errors import exit_code
from search.config.plan import FOLDER, SUBJECT, SearchPlan, load_plan
from search.config.template import load_template
from search.config.yaml_io import named_file
from search.run.precheck import check_request
from search.run.run_plan import budget_of
from search.run.search_request import SearchRequest
from search.sampling.trial_slots import trial_sequence

CHAINS = ("bayes_mf", "item_gp", "myfm")  # families whose epochs are Gibbs sweeps
TRAIN_SHARE = {"future-holdout": 0.64, "per-user": 0.675}  # of all ratings; others train on about 0.77


def workload_of(plan: SearchPlan) -> Workload | None:
    """Counts of trials and ratings; None where the size of the data is not known without reading it."""
    if plan.data in RELEASES:
        size: ReleaseSize | SyntheticSpec = RELEASES[plan.data]
    elif plan.data.startswith(PREFIX):
        size = parse_spec(plan.data)
    else:
        return None
    slots = trial_sequence(plan, start_families=[load_template(name).family for name in plan.points])
    references = sum(slot.origin == "reference" for slot in slots)
    networks = sum(slot.family == SUBJECT and slot.origin != "reference" for slot in slots)
    chains = sum(slot.family in CHAINS for slot in slots)
    return Workload(
        name=plan.data,
        ratings=int(size.ratings * TRAIN_SHARE.get(plan.split.partition(":")[0], 0.77)),
        users=size.users,
        items=size.items,
        network_trials=networks,
        factorisation_trials=chains,
        epochs=plan.epochs,
        reference_trials=references,
        reference_epochs=plan.reference.epochs,
        grace_epochs=plan.pruning.grace_epochs if plan.pruning.enabled else 0,
        reduction=plan.pruning.reduction,
        finish_hours=budget_of(plan).finish_hours,
        epoch_steps=plan.epoch_steps,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the workload of a plan."""
    parser = argparse.ArgumentParser(prog="python -m search.run.workload", description=__doc__)
    parser.add_argument("--plan", required=True)
    options = parser.parse_args(arguments)

    def work() -> int:
        plan = load_plan(named_file(options.plan, FOLDER, kind="plan"), {})
        check_request(SearchRequest(out=Path("unused"), plan=plan, source=DataSpec(data=plan.data)))
        workload = workload_of(plan)
        print(json.dumps(None if workload is None else dataclasses.asdict(workload)))
        return 0

    return exit_code(work, interrupted="stopped")


if __name__ == "__main__":
    sys.exit(main())
