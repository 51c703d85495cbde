"""`breakthrough --cluster FILE`: quote, rent, start, watch, fetch, end. Whatever happens, the last step
comes.

    new cluster: quote -> confirm -> watchdog -> rent -> bring up -> submit -> watch -> fetch -> end -> bill
    the head is lost: end what is left -> rent again under the same cap -> send the fetched state -> resume
    --detach: submit, then leave it to the guards; --attach: find the cluster of the run folder, watch again
Exit codes are those of every command here: 0 done, 1 failed while running, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from clusters import state as states
from clusters.budget_args import refuse_secrets
from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.existing_ray import joining_environment
from clusters.forecast import Workload
from clusters.monitor import Interrupts, returns_exit_code
from clusters.provider import Provider, make_provider
from clusters.quote import Quote
from clusters.remote_run import SEARCH, RemoteRun
from clusters.spec import AddressSpec, ClusterSpec, LocalSpec, RentedSpec, read_spec
from clusters.ssh import make_key
from clusters.state import ClusterState
from clusters.upload import ROOT
from clusters.watchdog import alive, start_watchdog

WhileHere = Callable[[Path], None]


def log(text: str) -> None:
    print(f"cluster: {text}", flush=True)


@returns_exit_code(interrupted="interrupted: nothing was rented")
def launch_search(
    cluster_yaml: Path,
    arguments: list[str],
    *,
    out: Path,
    yes: bool,
    detach: bool,
    attach: bool,
    while_here: WhileHere | None = None,
    workload: Workload | None = None,
) -> int:
    """Run `search/breakthrough.py ARGUMENTS` on the cluster a YAML describes; the run folder comes to `out`.

    `while_here` is called with `out` after each fetch, on this machine: it reports to MLflow and webhooks
    from here, and then none of those secrets goes to a pod (unless detached). Prints its own messages; raises
    nothing; returns the exit code.
    """
    spec = read_spec(cluster_yaml)
    if isinstance(spec, LocalSpec | AddressSpec):
        return run_here(spec, arguments, out=out, detach=detach, attach=attach)
    provider = make_provider(spec.kind)
    if attach:
        state = find_by_out(out)
        here = None if state.detached else while_here  # after --detach the head speaks for itself
        return ended_on_interrupt(RemoteRun(provider, spec, state, out, here, log), finish)
    if "--resume" not in arguments and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ClusterError(f"--out {out} is not empty; name another folder, or --resume the run in it")
    state = prepare(provider, spec, arguments, out=out, yes=yes, detach=detach, workload=workload)
    assert isinstance(state.cluster_spec, RentedSpec)
    session = RemoteRun(provider, state.cluster_spec, state, out, while_here, log)
    return ended_on_interrupt(session, lambda run: begin(run, detach=detach))


def ended_on_interrupt(session: RemoteRun, work: Callable[[RemoteRun], int]) -> int:
    """``work``'s exit code; an interrupt at any line of it ends the rented machines."""
    try:
        return work(session)
    except KeyboardInterrupt:
        log("interrupted: ending")
        return session.close(130)


def run_here(spec: ClusterSpec, arguments: list[str], *, out: Path, detach: bool, attach: bool) -> int:
    """The same command on this machine, or as a driver of a Ray cluster that is already there."""
    if detach or attach:
        raise ClusterError(
            f"--detach and --attach need a rented cluster; kind: {spec.kind} runs in this terminal"
        )
    environment = dict(os.environ)
    if isinstance(spec, AddressSpec):
        make_provider(spec.kind).rent(spec, states.ClusterState("local", "", {}, 0.0), log=log)
        environment = joining_environment(spec, environment)
    command = [sys.executable, str(ROOT / SEARCH), *arguments, "--out", str(out)]
    child = subprocess.Popen(command, env=environment)
    with Interrupts().caught():  # the terminal sends Ctrl-C to the child as well, which knows what to do
        return child.wait()


def find_by_out(out: Path) -> ClusterState:
    """The cluster whose run comes to this folder.

    Raises:
        ClusterError: none is known, or it has ended; the message says what is left of the run.
    """
    folder = str(out.resolve())
    matching = [state for state in states.all_states() if state.out == folder]
    if not matching:
        raise ClusterError(f"no cluster of this machine runs {out}; `python -m clusters status` lists them")
    if matching[0].phase == "ended":
        ended_by = matching[0].notes.get("ended_by", "its own command")
        raise ClusterError(
            f"cluster {matching[0].name} of {out} was ended by {ended_by}; what was fetched is in {out}, and "
            "--resume goes on from it on a new cluster"
        )
    return matching[0]


def prepare(
    provider: Provider,
    spec: RentedSpec,
    arguments: list[str],
    *,
    out: Path,
    yes: bool,
    detach: bool,
    workload: Workload | None = None,
) -> ClusterState:
    """Everything that can be refused, before anything is paid for; then the state, its key and the yes."""
    refuse_secrets(arguments)
    for tool in ("ssh", "ssh-keygen", "rsync"):
        if not shutil.which(tool):
            raise ClusterError(f"{tool} is not installed; install openssh-client and rsync on this machine")
    if detach and not spec.stores_runs:
        raise ClusterError(
            "--detach needs a volume or a store in the cluster YAML: a pod that reaches its deadline with "
            "nobody listening saves the run there first. Name one, or run without --detach"
        )
    if missing := [name for name in spec.store_env if not os.environ.get(name)]:
        raise ClusterError(f"store_env names {', '.join(missing)}, not set on this machine")
    for other in states.all_states():
        if other.out == str(out.resolve()) and other.phase != "ended":
            raise ClusterError(
                f"cluster {other.name} already runs {out}: --attach to it, or name another --out"
            )
    provider.marked()  # a harmless request: a missing or wrong key is reported first
    quote = provider.quote(spec).holding(workload)
    log("quote\n" + quote.text(workload))
    confirm(yes)
    state = states.create(only_offered(spec, quote), out=out)
    make_key(state.name)
    return states.update(state.name, arguments=tuple(arguments), detached=detach)


def only_offered(spec: RentedSpec, quote: Quote) -> RentedSpec:
    """The cluster without the cards that cannot hold its plan: renting asks the catalogue anew, and would
    take the next free one of the list."""
    small = {offer.gpu for offer in quote.offers if offer.small}
    return spec.model_copy(update={"gpus": tuple(gpu for gpu in spec.gpus if gpu.id not in small)})


def confirm(yes: bool) -> None:
    """Ask before money is spent.

    Raises:
        ClusterError: no terminal to ask on, or the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ClusterError("nobody is there to confirm the quote; add --yes to accept it")
    if input("rent? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ClusterError("not confirmed; nothing was rented")


def begin(session: RemoteRun, *, detach: bool) -> int:
    """From a fresh state to the end of the search (or to --detach)."""
    state = session.state
    start_watchdog(state.name)
    log(f"cluster {state.name}; its watchdog is process {states.load(state.name).watchdog_pid}")
    try:
        started = time.monotonic()
        session.start(
            speak_from_head=detach or session.while_here is None, resume="--resume" in state.arguments
        )
        log(f"search submitted {time.monotonic() - started:.0f} s after the first create call")
    except KeyboardInterrupt:
        log("interrupted while coming up: ending")
        return session.close(130)
    except (ClusterError, ClusterFailed) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return session.close(1)
    except BaseException:
        session.close(1)
        raise
    if detach:
        log("detached; to follow it again: the same command with --attach")
        log(f"its state: python -m clusters status {state.name}")
        return 0
    return finish(session)


def finish(session: RemoteRun) -> int:
    """Watch to the end; where the head is lost, go on on a new cluster while cap and YAML allow."""
    states.update(session.state.name, driver_pid=os.getpid())
    if not alive(states.load(session.state.name).watchdog_pid):
        start_watchdog(session.state.name)
    try:
        return session.follow()
    except Exception:  # a mistake of ours must not leave pods behind
        session.close(1)
        raise
