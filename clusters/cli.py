"""The command line: quote, up, status, ssh, logs, fetch, down, sweep. Parses, calls, prints."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from clusters import state as states
from clusters.bootstrap_cluster import CODE, bootstrap_cluster
from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.fetch import fetch_last
from clusters.forecast import Workload
from clusters.launch import confirm, prepare
from clusters.monitor import Interrupts, poll, returns_exit_code
from clusters.provider import make_provider
from clusters.providers import provider_class
from clusters.remote_run import forget_secrets
from clusters.spec import RentedSpec, read_spec
from clusters.ssh import Ssh
from clusters.state import ClusterState
from clusters.upload import ROOT
from clusters.watchdog import alive, start_watchdog

NAME_HELP = "a cluster's name, its run folder, or nothing where there is one cluster only"


def log(text: str) -> None:
    print(text, flush=True)


def find_cluster(name: str | None) -> ClusterState:
    """The living cluster that a person means.

    Raises:
        ClusterError: none, or more than one and no name.
    """
    living = [state for state in states.all_states() if state.phase != "ended"]
    if name:
        by_out = [state for state in living if state.out and state.out == str(Path(name).resolve())]
        return by_out[0] if by_out else states.load(name)
    if len(living) != 1:
        names = ", ".join(state.name for state in living) or "none"
        raise ClusterError(f"say which cluster: {names}")
    return living[0]


def require_folder(out: Path) -> None:
    """Refuse an ``--out`` that cannot be a folder.

    Raises:
        ClusterError: it is a file.
    """
    if out.exists() and not out.is_dir():
        raise ClusterError(f"--out {out} is a file, expected a folder for the run")


def rented(path: Path) -> RentedSpec:
    spec = read_spec(path)
    if not isinstance(spec, RentedSpec):
        raise ClusterError(f"{path} is kind: {spec.kind}: there is nothing to rent")
    return spec


def plan_workload(plan: str) -> Workload | None:
    """What a search plan asks for, by the search's own reading of it (in a process of its own).

    Raises:
        ClusterError: the plan is refused; with its reason.
    """
    command = [sys.executable, "-m", "search.run.workload", "--plan", plan]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    if done.returncode:
        raise ClusterError(done.stderr.strip().removeprefix("error: ")[-1000:])
    fields = json.loads(done.stdout.strip().split("\n")[-1])
    return None if fields is None else Workload(**fields)


def quote(options: argparse.Namespace) -> int:
    spec = read_spec(options.file)
    provider = make_provider(spec.kind)
    offline, workload = options.offline, None
    if options.plan:
        workload = plan_workload(options.plan)
        if workload is None:
            log("no forecast: the size of the plan's data is not known before it is read")
    try:
        text = provider.quote(spec, offline=offline).holding(workload).text(workload)
    except ClusterFailed as problem:
        log(f"the catalogue is out of reach ({problem})")
        text = provider.quote(spec, offline=True).holding(workload).text(workload)
    log(text)
    return 0


def up(options: argparse.Namespace) -> int:
    spec = rented(options.file)
    require_folder(Path(options.out))
    provider = make_provider(spec.kind)
    state = prepare(provider, spec, [], out=Path(options.out), yes=options.yes, detach=False)
    start_watchdog(state.name)
    try:
        provider.rent(spec, state, log=log)
        bootstrap_cluster(
            spec, states.load(state.name), end=provider.self_termination(), speak_from_head=True, log=log
        )
    except BaseException as problem:
        log(f"{type(problem).__name__}: ending cluster {state.name}")
        with Interrupts().caught():
            provider.end(states.load(state.name), log=log)
            states.update(state.name, phase="ended")
        if isinstance(problem, KeyboardInterrupt):
            return 130
        raise
    log(f"cluster {state.name} is up; it ends after {spec.idle_minutes:g} idle minutes, or by `down`")
    return 0


def status(options: argparse.Namespace) -> int:
    wanted = [states.load(options.name)] if options.name else states.all_states()
    now = time.time()
    for state in wanted:
        if state.phase == "ended" and not (options.name or options.all):
            continue
        watchdog = "watched" if alive(state.watchdog_pid) else "its watchdog is gone"
        log(
            f"{state.name}  {state.phase}  {len(state.nodes)} pod(s)  ${state.usd_per_hour:.2f}/h  "
            f"${state.spent_usd(now):.3f} so far  {watchdog}  {state.out}"
        )
        if state.phase == "ended":
            log(f"  ended by {state.notes.get('ended_by', 'its own command')}")
            continue
        for node in make_provider(state.cluster_spec.kind).inspect(state):
            log(f"  {node.name}  {node.detail}  ${node.usd_per_hour:.2f}/h")
        if state.job:
            fact, _ = poll(Ssh(state.name, state.head), state.job, 1 << 60, quiet=True)
            log(
                f"  search: {'running' if fact['exit'] is None else 'ended with status ' + str(fact['exit'])}"
            )
    if not any(state.phase != "ended" for state in wanted):
        log("no cluster is up")
    return 0


def ssh(options: argparse.Namespace) -> int:
    state = find_cluster(options.name)
    if not 0 <= options.node < len(state.nodes):
        raise ClusterError(
            f"--node {options.node}: cluster {state.name} has {len(state.nodes)} nodes, from 0, the head"
        )
    log(
        "Ray's dashboard: http://127.0.0.1:8265 while this shell is open; its token: ~/breakthrough/ray_token"
    )
    return Ssh(state.name, state.nodes[options.node]).shell(forwards=["127.0.0.1:8265:127.0.0.1:8265"])


def logs(options: argparse.Namespace) -> int:
    state = find_cluster(options.name)
    head = Ssh(state.name, state.head)
    if not state.job:
        log(head.run(f"tail -n 100 {CODE}/../guard.log"))
        return 0
    offset = 0
    while True:
        fact, output = poll(head, state.job, offset, quiet=True)
        offset += len(output)
        sys.stdout.buffer.write(output)
        sys.stdout.flush()
        if not output and (not options.follow or fact["exit"] is not None):
            return 0
        if not output:
            time.sleep(2)


def fetch(options: argparse.Namespace) -> int:
    state = find_cluster(options.name)
    out = Path(options.out or state.out)
    require_folder(out)
    if not fetch_last(Ssh(state.name, state.head), state.run, out, log=log):
        log("there is no run folder on the head yet")
    return 0


def down(options: argparse.Namespace) -> int:
    state = find_cluster(options.name)
    if state.phase == "searching" and not options.discard:
        try:
            fetch_last(Ssh(state.name, state.head), state.run, Path(state.out), log=log)
        except ClusterFailed as problem:
            log(f"not fetched ({problem})")
    bill = make_provider(state.cluster_spec.kind).end(state, log=log)
    notes = {**states.load(state.name).notes, "ended_by": "python -m clusters down"}
    states.update(state.name, phase="ended", notes=notes)
    forget_secrets(state.name)
    log(f"no pod is left; {bill.text()}")
    return 0


def sweep(options: argparse.Namespace) -> int:
    """Marked machines on the account that no living cluster of this machine owns."""
    owned = {node.id for state in states.all_states() if state.phase != "ended" for node in state.nodes}
    provider = make_provider(options.provider)
    if not issubclass(provider_class(options.provider).spec_class, RentedSpec):
        raise ClusterError(f"--provider {options.provider} rents nothing: there is nothing to sweep")
    unowned = [node for node in provider.marked() if node.id not in owned]
    mine = [node for node in unowned if node.name.split("-")[1] == states.owner_id() or options.everyone]
    for node in unowned:
        whose = "" if node in mine else "  (rented from another machine)"
        log(f"{node.name}  {node.detail}  ${node.usd_per_hour:.2f}/h{whose}")
    if not mine:
        log("nothing to end" + ("; --everyone takes those of other machines too" if unowned else ""))
        return 0
    confirm(options.yes)
    for node in mine:
        provider.end_node(node)
        log(f"ended {node.name}")
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m clusters", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True)

    def add(name: str, work: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(work=work)
        return made

    made = add(
        "quote", quote, "what a cluster will cost; from the dated price file without network or account"
    )
    made.add_argument("file", type=Path, help="a cluster YAML")
    made.add_argument("--plan", help="a search plan's file or name: adds what the money buys to the quote")
    made.add_argument("--offline", action="store_true", help="use the dated price file even with a key")
    made = add("up", up, "rent, start Ray, and leave it up under its guards")
    made.add_argument("file", type=Path, help="a cluster YAML")
    made.add_argument("--out", default="runs/by-hand", help="where `fetch` puts a run (default: %(default)s)")
    made.add_argument("--yes", action="store_true", help="accept the quote without asking")
    made = add("status", status, "clusters, their pods, dollars so far, and the search's state")
    made.add_argument("name", nargs="?", help="a cluster's name; all living ones without")
    made.add_argument("--all", action="store_true", help="ended ones too")
    made = add("ssh", ssh, "a shell on a node, with Ray's dashboard forwarded to this machine")
    made.add_argument("name", nargs="?", help=NAME_HELP)
    made.add_argument("--node", type=int, default=0, help="0 is the head (default)")
    made = add("logs", logs, "the search's output from its beginning")
    made.add_argument("name", nargs="?", help=NAME_HELP)
    made.add_argument("--follow", action="store_true", help="until the search ends")
    made = add("fetch", fetch, "the run folder, verified")
    made.add_argument("name", nargs="?", help=NAME_HELP)
    made.add_argument("--out", help="another folder than the run's own")
    made = add("down", down, "fetch the run, then end every pod of a cluster")
    made.add_argument("name", nargs="?", help=NAME_HELP)
    made.add_argument("--discard", action="store_true", help="end at once, without fetching")
    made = add("sweep", sweep, "find marked pods that no living cluster owns, and end them")
    made.add_argument("--provider", default="runpod", help="default: %(default)s")
    made.add_argument("--everyone", action="store_true", help="also those rented from other machines")
    made.add_argument("--yes", action="store_true", help="end them without asking")
    return top


@returns_exit_code()
def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    os.umask(0o077)
    options = parser().parse_args(arguments)
    return int(options.work(options))
