"""``python -m serving experiment``: the users that an experiment needs, before it starts."""

from __future__ import annotations

import argparse

from recsys.errors import InputError
from recsys.text_table import text_table
from serving.experiments.sizing import HALF_BY, MOST_BY, ExperimentDesign, control_share, fixed_size

SHARES = (0.01, 0.05, 0.1, 0.2)
MANY_USERS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, required=True, help="the control's hit rate, e.g. 0.05")
    parser.add_argument("--lift", type=float, default=0.2, help="relative (default 0.2: +20%%)")
    parser.add_argument("--treatments", type=int, default=1, help="arms besides the control (default 1)")
    parser.add_argument("--share", type=float, help="of each treatment (default: recommended)")
    parser.add_argument("--alpha", type=float, default=0.05, help="for any false verdict (default 0.05)")
    parser.add_argument("--people-a-day", type=float, help="new users a day, to give days as well")


def run(options: argparse.Namespace) -> int:
    """Print the advice."""
    for line in advice(options):
        print(line)
    return 0


def advice(options: argparse.Namespace) -> list[str]:
    """The lines of the advice. Raises InputError for an invalid design."""
    if options.people_a_day is not None and not options.people_a_day > 0:
        raise InputError(f"--people-a-day must be above 0, got {options.people_a_day:g}")
    count = options.treatments
    best = (1 - control_share(count)) / count if count >= 1 else 0.5
    share = best if options.share is None else options.share
    chosen = ExperimentDesign(options.rate, options.lift, share, count, options.alpha)
    advised = ExperimentDesign(options.rate, options.lift, best, count, options.alpha)
    lines = [
        f"control share {advised.control:.0%}, {best:.0%} for each of {count} treatment{'s' * (count > 1)}: "
        f"1 / (1 + sqrt({count})) needs the fewest users",
        f"to find {options.lift:+.0%} of a rate of {options.rate:g} at a share of {chosen.share:.0%}: "
        f"{_users_text(chosen, options.people_a_day)} for a test of fixed size (80% power)",
        f"with a look at any time, half of such experiments decide by {HALF_BY:g} times that, "
        f"80% by {MOST_BY:g} times",
        "",
    ]
    rows = []
    shares = sorted({*(share for share in SHARES if count * share < 1), chosen.share, best})
    for share in shares:
        design = ExperimentDesign(options.rate, options.lift, share, count, options.alpha)
        size = fixed_size(design)
        users = [size, round(HALF_BY * size), round(MOST_BY * size)]
        rows.append([f"{share:.0%}", f"{design.control:.0%}", *(f"{count:,}" for count in users)])
    header = ["share", "control", "fixed size", "half decide", "80% decide"]
    lines += text_table(header, rows, right=range(5)).split("\n")
    if fixed_size(chosen) > MANY_USERS:
        fewer = f"at {best:.0%} it is {fixed_size(advised):,}; " if chosen.share != best else ""
        lines += [
            "",
            f"that is many people, whatever the method: {fewer}a metric with a higher rate needs fewer",
        ]
    return lines


def _users_text(design: ExperimentDesign, a_day: float | None) -> str:
    size = fixed_size(design)
    days = "" if a_day is None else f" ({size / a_day:,.1f} days)"
    return f"about {size:,} people{days}"
