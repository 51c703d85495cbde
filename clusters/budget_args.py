"""The search's own budget on a rented cluster, as options added to its command: the first of the three
guards.

Price and caps come from the cluster, whatever a plan says, so that the search ends by itself, with ensemble
and release, before the watchdog or the pod's guard would end it without; a tighter cap of the person's own
holds. (The batch of
the GPU's row and trials_per_gpu the search takes from clusters/cluster_info.py itself.)
"""

from __future__ import annotations

from clusters.cluster_errors import ClusterError
from clusters.cluster_info import ClusterInfo
from clusters.spec import RentedSpec

FETCH_SECONDS = 300.0  # kept for the last fetch and the end of the pods
TEARDOWN_SECONDS = 60.0  # of these, for the end of the pods alone
SAVING_SECONDS = 600.0  # for a pod that ends itself to copy its run into the store
SECRET_OPTIONS = ("--notify",)  # their values would stand in Ray's job record and in process lists


def refuse_secrets(arguments: list[str]) -> None:
    """A secret among the arguments is refused before it travels.

    Raises:
        ClusterError: with the way to give it instead.
    """
    for argument in arguments:
        if argument.partition("=")[0] in SECRET_OPTIONS:
            raise ClusterError(
                f"{argument.partition('=')[0]} with a URL would be read by whoever lists processes on a "
                "rented machine; set DISCORD_WEBHOOK_URL here instead, which goes there in a private file"
            )


def last_value(arguments: list[str], option: str) -> float | None:
    """The last value of an option, as argparse reads it; None where it is absent or not a number."""
    last = None
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            text = value if equals else arguments[number + 1] if number + 1 < len(arguments) else ""
            try:
                last = float(text)
            except ValueError:
                return None  # the search reports what is wrong with it
    return last


def teardown_seconds(spec: RentedSpec) -> float:
    """Seconds before a cap at which fetching must be over: ending pods takes time that is billed."""
    return min(TEARDOWN_SECONDS, 0.015 * spec.max_hours * 3600)


def saving_seconds(spec: RentedSpec) -> float:
    """Seconds before the deadline at which a pod begins to save its run; 0 where it lies on a volume or
    nowhere.
    """
    return min(SAVING_SECONDS, 0.05 * spec.max_hours * 3600) if spec.store else 0.0


def with_limits(
    arguments: list[str],
    facts: ClusterInfo,
    *,
    before_seconds: float,
    user_arguments: list[str],
    reserved_seconds: float = 0.0,
) -> list[str]:
    """The search's arguments with the cluster's price and the rest of its caps.

    `before_seconds` were used by earlier sessions of the run, which the search counts; `user_arguments` are
    those of the command line (on a resume `arguments` is shorter); `reserved_seconds` before the deadline are
    not the search's where they are more than the last fetch's.
    """
    remaining = facts.deadline - facts.written
    reserved = max(reserved_seconds, min(FETCH_SECONDS, 0.1 * remaining))
    hours = (before_seconds + max(60.0, remaining - reserved)) / 3600
    dollars = facts.max_usd
    user_hours = last_value(user_arguments, "--max-hours")
    user_dollars = last_value(user_arguments, "--max-cost")
    hours = min(hours, user_hours) if user_hours else hours
    dollars = min(dollars, user_dollars) if user_dollars is not None else dollars
    added = ["--price", f"{facts.usd_per_hour / facts.pods:.4f}", "--set", f"nodes={facts.pods}"]
    added += ["--max-hours", f"{hours:.4f}", "--max-cost", f"{dollars:.2f}"]
    return [*arguments, *added]
