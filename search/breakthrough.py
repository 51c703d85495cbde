"""Search for a better recommender, blend the best trials, test once, pack a release, write a report.

Plain use needs nothing: `python search/breakthrough.py` searches ML-100K with search/plans/quick.yaml.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.data.options import add_reading_options, join_missing, read_options
from recsys.errors import InputError, check_encoding, exit_code

if TYPE_CHECKING:
    from search.run.search_request import SearchRequest

EXAMPLES = """\
examples:
  python search/breakthrough.py
      ML-100K, the quick plan: minutes on two cores
  python search/breakthrough.py --data ml-1m --trials 24 --epochs 20 --max-hours 2
      another release, a longer search, an end to it
  python search/breakthrough.py --data ratings.csv --items items.csv --set dropout=0.3
      your own ratings (user, item, rating and perhaps a timestamp), one field of the model fixed
  python search/breakthrough.py --out runs/first --resume
      go on with a run that was interrupted, killed or out of budget
  python search/breakthrough.py --cluster clusters/runpod.yaml --plan search/plans/full.yaml
      the same on rented GPUs: quotes, asks, runs, fetches, hands everything back

what it leaves in --out: results.json, report.html, release/ (all that serving needs), trials/
exit codes: 0 done, 1 failed while running (says how to go on), 2 bad input, 130 interrupted
Ctrl-C once: end gracefully, with ensemble and release from what there is; twice: stop now
"""
# Options that set a field of the plan, by the field's name.
OF_PLAN = (
    "data",
    "split",
    "trials",
    "epochs",
    "concurrency",
    "seed",
    "max_cost",
    "max_hours",
    "price",
    "refit",
    "target_loss",
    "at",
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="search/breakthrough.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = command.add_argument_group("what to search")
    what.add_argument("--plan", metavar="YAML", help="a plan's file or name (default: quick)")
    what.add_argument(
        "--data",
        metavar="NAME|PATH",
        help="a MovieLens release (ml-100k, ml-1m, ..., ml-32m), a folder, a CSV or Parquet file, "
        "or synthetic:users=..,items=..,ratings=..",
    )
    what.add_argument(
        "--split",
        help="random, future-holdout, temporal, per-user, leave-last, strong:USERS (so many people held out "
        "and folded in), folds:u1 .. folds:u5, folds:ua or folds:ub",
    )
    what.add_argument("--trials", type=int, metavar="N", help="trials, formula and template among them")
    what.add_argument("--epochs", type=int, metavar="N", help="at most, the same for every trial")
    what.add_argument("--seed", type=int, metavar="N", help="of the split, the proposals and the trials")
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any field of the plan (pruning.grace_epochs=5) or of a model (dropout=0.3); repeatable",
    )
    what.add_argument(
        "--refit", action="store_true", default=None, help="train the members on all slices last"
    )
    what.add_argument(
        "--at", metavar="K,K", help="lengths at which the end judges lists, e.g. 5,10,20,100 (default: 10)"
    )
    data_options = command.add_argument_group("your own ratings")
    add_reading_options(data_options)
    data_options.add_argument(
        "--weigh-exposures",
        action="store_true",
        help="of RUN+EVENTS: ratings of what our lists had shown count by their inverse logged propensity",
    )
    where = command.add_argument_group("where, and how far")
    where.add_argument("--out", metavar="FOLDER", help="the run's folder (default: runs/DATA-TIME)")
    where.add_argument(
        "--resume", action="store_true", help="go on with the run in --out (default: the newest)"
    )
    where.add_argument("--concurrency", type=int, metavar="N", help="trials at once")
    where.add_argument("--max-cost", type=float, metavar="USD", help="for the whole run (default: 20)")
    where.add_argument("--max-hours", type=float, metavar="H", help="for the whole run")
    where.add_argument(
        "--target-loss", type=float, metavar="LOSS", help="end the search when a trial reaches it on valid"
    )
    where.add_argument("--price", type=float, metavar="USD", help="per hour and machine (default: 0)")
    where.add_argument(
        "--notify",
        metavar="URL",
        help="a JSON webhook or, with the extra notify, an Apprise URL; Discord's from DISCORD_WEBHOOK_URL",
    )
    earlier = command.add_argument_group("learning from an earlier run")
    earlier.add_argument("--warm-start", metavar="RUN", help="reuse its results (same data, same split)")
    earlier.add_argument("--start-from", metavar="RUN", help="start from its best configs only (any data)")
    rented = command.add_argument_group("on a cluster")
    rented.add_argument(
        "--cluster", metavar="YAML", help="clusters/local.yaml, clusters/runpod.yaml or yours"
    )
    rented.add_argument("--yes", action="store_true", help="rent without asking")
    rented.add_argument("--detach", action="store_true", help="leave it running under its guards")
    rented.add_argument("--attach", action="store_true", help="follow a detached run again")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(join_missing(argv))
    return exit_code(lambda: started(options, argv), interrupted="\nstopped before anything was started")


def started(options: argparse.Namespace, argv: list[str]) -> int:
    """Run the search here, or on the cluster of --cluster. Raises InputError."""
    check_encoding(argv)
    if (options.detach or options.attach) and options.cluster is None:
        raise InputError("--detach and --attach need a rented cluster: name its YAML with --cluster")
    if options.cluster is not None:
        elsewhere = on_cluster(options, argv)
        if elsewhere is not None:
            return elsewhere
    from search.run.run_command import run  # Ray and torch take seconds to import: not for --help

    return run(request_of(options, argv))


def on_cluster(options: argparse.Namespace, argv: list[str]) -> int | None:
    """Run on the cluster that --cluster names; None where that is this machine."""
    from search.config.yaml_io import read_mapping

    path = Path(options.cluster)
    kind = read_mapping(path, kind="cluster").get("kind")
    if kind == "local" and not (options.detach or options.attach):
        return None
    from clusters.launch import launch_search
    from search.run.precheck import check_request
    from search.run.workload import workload_of
    from search.tracking.forwarding import TrackingForwarder

    workload = None
    if not options.attach and not (options.resume and not options.out):
        request = request_of(options, argv)
        check_request(request)  # here, before the quote: a typo rents nothing
        workload = None if request.plan is None else workload_of(request.plan)

    out = Path(options.out) if options.out else default_out(options.data or "search")
    forwarded = without(argv, flags=("--yes", "--detach", "--attach"), values=("--cluster", "--out"))
    rented = kind not in ("local", "address")
    if rented and not options.detach:  # this machine sends notifications, so that the URL stays here
        forwarded = without(forwarded, flags=(), values=("--notify",))
    speaker = TrackingForwarder(out, notify=options.notify) if rented else None
    status = launch_search(
        path,
        forwarded,
        out=out,
        yes=options.yes,
        detach=options.detach,
        attach=options.attach,
        while_here=speaker,
        workload=workload,
    )
    if speaker is not None and (line := speaker.close()):
        print(line)
    return status


def without(argv: Sequence[str], *, flags: Sequence[str], values: Sequence[str]) -> list[str]:
    """The arguments less some flags and some options with their values."""
    remaining: list[str] = []
    skip = False
    for argument in argv:
        if skip:
            skip = False
        elif argument in values:
            skip = True
        elif argument not in flags and not argument.startswith(tuple(f"{name}=" for name in values)):
            remaining.append(argument)
    return remaining


def request_of(options: argparse.Namespace, argv: Sequence[str]) -> SearchRequest:
    """What the command line asks for. Raises InputError."""
    from recsys.data.data_spec import DataSpec
    from recsys.notifications import without_webhook
    from search.config.overrides import parse_assignment
    from search.config.plan import FOLDER, load_plan
    from search.config.yaml_io import named_file
    from search.run.search_request import SearchRequest

    changes = dict(parse_assignment(text) for text in options.set)
    changes |= {name: getattr(options, name) for name in OF_PLAN if getattr(options, name) is not None}
    command = ("python", "search/breakthrough.py", *without_webhook(argv))
    if options.resume:
        if options.plan:
            raise InputError("--resume goes on with the run's own plan: leave out --plan")
        return SearchRequest(
            out=Path(options.out) if options.out else newest_run(),
            resume=True,
            changes=changes,
            notify=options.notify,
            command=command,
        )
    plan = load_plan(named_file(options.plan or "quick", FOLDER, kind="plan"), changes)
    return SearchRequest(
        out=Path(options.out) if options.out else default_out(plan.data),
        plan=plan,
        source=DataSpec(
            data=plan.data,
            **read_options(options),
            weigh_exposures=options.weigh_exposures,
        ),
        warm_start=Path(options.warm_start) if options.warm_start else None,
        start_from=Path(options.start_from) if options.start_from else None,
        notify=options.notify,
        command=command,
    )


def default_out(data: str) -> Path:
    """runs/DATA-TIME."""
    stem = data.split(":")[0] if data.startswith("synthetic:") else Path(data).stem or "search"
    return Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def newest_run() -> Path:
    """The run that was started last."""
    runs = sorted(Path("runs").glob("*/plan.yaml"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise InputError("--resume: there is no run under runs/; name one with --out")
    return runs[-1].parent


if __name__ == "__main__":
    sys.exit(main())
