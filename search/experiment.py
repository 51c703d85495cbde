"""Experiments: one training from a template, under a name, to be run, compared and reviewed.

python search/experiment.py create hybrid_vae_optimized rmse_breakthrough
python search/experiment.py create hybrid_vae_optimized ensemble_model_1 \\
  --modifications '{"training": {"seed": 42}}'
python search/experiment.py run rmse_breakthrough --seeds 3
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from recsys.errors import InputError, exit_code


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="search/experiment.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 done, 1 failed while running (says how to go on), 2 bad input, 130 interrupted",
    )  # fmt: skip
    command.add_argument(
        "--home", type=Path, default=Path("runs"), metavar="FOLDER", help="where runs lie (runs)"
    )
    verbs = command.add_subparsers(dest="verb", required=True)

    create = verbs.add_parser("create", help="make an experiment from a template")
    create.add_argument("template", help="a name in search/templates, or a YAML file")
    create.add_argument("name", help="what to call it")
    create.add_argument("--modifications", metavar="JSON", default="{}", help='{"training": {"seed": 42}}')
    create.add_argument("--data", help="as search/breakthrough.py's (ml-100k)")
    create.add_argument("--split", help="as search/breakthrough.py's (random)")

    run = verbs.add_parser("run", help="train it; several seeds make an ensemble and a release")
    run.add_argument("name")
    run.add_argument("--seeds", metavar="N|A,B,..", help="so many seeds from the card's on, or these seeds")
    run.add_argument("--data", help="other ratings than the card's")
    run.add_argument("--split", help="another split than the card's")
    run.add_argument("--resume", action="store_true", help="go on with what was interrupted")
    run.add_argument(
        "--notify",
        metavar="URL",
        help="a JSON webhook or, with the extra notify, an Apprise URL; Discord's from DISCORD_WEBHOOK_URL",
    )
    run.add_argument("--concurrency", type=int, metavar="N", help="seeds at once")
    run.add_argument("--max-cost", type=float, metavar="USD", help="for the whole run (20)")
    run.add_argument("--max-hours", type=float, metavar="H", help="for the whole run")
    run.add_argument("--price", type=float, metavar="USD", help="per hour and machine (0)")

    verbs.add_parser("list", help="all experiments and how they stand")
    show = verbs.add_parser("show", help="one experiment, whole")
    show.add_argument("name")
    compare = verbs.add_parser("compare", help="two or more side by side, with a paired test")
    compare.add_argument("names", nargs="+", metavar="NAME", help="experiments, or searches in --home")
    review = verbs.add_parser("review", help="what ran, what was learnt, what to try")
    review.add_argument("--since", default="7d", metavar="TIME", help="24h, 7d, 2w, 1m (7d)")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    return exit_code(lambda: VERBS[options.verb](options, argv))


def create(options: argparse.Namespace, argv: list[str]) -> int:
    from search.experiments import create as making  # torch takes seconds to import: not for --help

    path = making.create(
        options.home,
        options.template,
        options.name,
        modifications=making.parse_modifications(options.modifications),
        data=options.data,
        split=options.split,
    )
    print(f"made {path}\nrun it: python search/experiment.py run {options.name}")
    return 0


def run(options: argparse.Namespace, argv: list[str]) -> int:
    from recsys.notifications import without_webhook
    from search.experiments.create import request_of
    from search.run.run_command import run as run_search

    names = ("concurrency", "max_cost", "max_hours", "price")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    request, note = request_of(
        options.home,
        options.name,
        seeds=options.seeds,
        data=options.data,
        split=options.split,
        resume=options.resume,
        notify=options.notify,
        changes=changes,
        command=("python", "search/experiment.py", *without_webhook(argv)),
    )
    if note:
        print(note)
    return run_search(request)


def show_list(options: argparse.Namespace, argv: list[str]) -> int:
    from search.experiments.display import list_text

    print(list_text(options.home))
    return 0


def show(options: argparse.Namespace, argv: list[str]) -> int:
    from search.experiments.display import show_text

    print(show_text(options.home, options.name))
    return 0


def compare(options: argparse.Namespace, argv: list[str]) -> int:
    from search.experiments.compare import comparison
    from search.experiments.status import any_status

    if len(options.names) < 2:
        raise InputError(f"compare takes two names or more, got {' '.join(options.names)}")
    print(comparison([any_status(options.home, name) for name in options.names]))
    return 0


def review(options: argparse.Namespace, argv: list[str]) -> int:
    from search.experiments import review
    from search.report.review_page import review_text, write_review

    now = time.time()
    summary = review.review(options.home, since_s=review.parse_since(options.since), now=now)
    print(review_text(summary))
    name = time.strftime("%Y-%m-%d", time.gmtime(now)) + f"-{options.since}.html"
    print(f"\npage: {write_review(options.home / 'reviews' / name, summary)}")
    return 0


VERBS = {"create": create, "run": run, "list": show_list, "show": show, "compare": compare, "review": review}

if __name__ == "__main__":
    sys.exit(main())
