"""One search on one rented cluster, from renting to the bill; also across a lost head.

Ending is in one place (`close`), may be called again, and cannot be interrupted: a Ctrl-C while pods are
being ended is answered, and waits.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from clusters import state as states
from clusters.bootstrap_cluster import BASE, CODE, bootstrap_cluster, ray_token, send_code
from clusters.budget_args import saving_seconds, teardown_seconds, with_limits
from clusters.cluster_errors import ClusterError, ClusterFailed
from clusters.cluster_info import ClusterInfo
from clusters.fetch import fetch_last, remote_run
from clusters.jobs import Jobs
from clusters.monitor import End, Interrupts, MonitorResult, monitor
from clusters.provider import Log, Provider
from clusters.quote_calibration import calibration_of, note_throughput
from clusters.spec import RentedSpec
from clusters.ssh import Ssh
from clusters.state import ClusterState
from clusters.upload import pack, upload_inputs

SEARCH = "search/breakthrough.py"
# This machine's position in sending to MLflow and webhooks: uploaded, it would come back older with a fetch.
STAYS_HERE = ("/tracking/state.*", "/tracking/told.json")


class RemoteRun:
    """Holds what the steps share; `state` is read again from disk at each step, for the watchdog writes it
    too.
    """

    def __init__(
        self,
        provider: Provider,
        spec: RentedSpec,
        state: ClusterState,
        out: Path,
        while_here: Callable[[Path], None] | None,
        log: Log,
    ) -> None:
        self.provider, self.spec, self.out = provider, spec, out
        self.while_here, self.log = while_here, log
        self.name = state.name

    @property
    def state(self) -> ClusterState:
        return states.load(self.name)

    @property
    def head(self) -> Ssh:
        return Ssh(self.name, self.state.head)

    def start(self, *, speak_from_head: bool, resume: bool) -> None:
        """Rent, bring up, send inputs, submit."""
        self.provider.rent(self.spec, self.state, log=self.log)
        end = self.provider.self_termination()
        bootstrap_cluster(self.spec, self.state, end=end, speak_from_head=speak_from_head, log=self.log)
        self.submit(resume=resume)

    def submit(self, *, resume: bool) -> None:
        """Start the search as a Ray job on the head. With `resume`, from what lies in `out`."""
        state = self.state
        arguments, files = upload_inputs(list(state.arguments))
        if files:
            archive = pack(files)
            self.log(archive.text("inputs"))
            send_code(self.head, archive, into=BASE)
        resume = resume and self.out.exists()
        if resume:
            self.head.push(self.out, remote_run(state.run), less=STAYS_HERE)
            self.log(f"sent the fetched state of {self.out} to continue from")
            arguments = (
                arguments if "--resume" in arguments else ["--resume"]
            )  # the run's own plan holds the rest
        facts = self.facts(state)
        arguments = with_limits(
            arguments,
            facts,
            before_seconds=self._used_before(),
            user_arguments=list(state.arguments),
            reserved_seconds=saving_seconds(self.spec),
        )
        self.head.run(f"umask 077; cat > {BASE}/facts.json", stdin=facts.to_json().encode())
        job = f"{state.run}-{state.serial}"
        python = self.head.run(f"cat {BASE}/python").strip()
        command = [python, "clusters/bootstrap/job.py", job, "--"]
        command += [python, SEARCH, *arguments, "--out", f"runs/{state.run}"]
        workdir = self.head.run("pwd").strip() + f"/{CODE}"
        Jobs(self.head, ray_token(self.name)).submit(job, command, workdir=workdir)
        states.update(self.name, job=job, phase="searching")

    def facts(self, state: ClusterState) -> ClusterInfo:
        now = time.time()
        calibration = calibration_of(state.head.gpu)
        return ClusterInfo(
            provider=self.spec.kind,
            name=state.name,
            gpu=state.head.gpu,
            gpus_per_pod=self.spec.gpus_per_pod,
            pods=len(state.nodes),
            trials_per_gpu=self.spec.trials_per_gpu,
            batch_size=state.batch_size,
            usd_per_hour=state.usd_per_hour,
            spent_usd=state.spent_usd(now),
            written=now,
            deadline=state.deadline(max_usd=self.spec.max_usd, max_hours=self.spec.max_hours, now=now),
            max_usd=self.spec.max_usd,
            max_hours=self.spec.max_hours,
            network_ratio=calibration.network,
            chain_ratio=calibration.chain,
            needs_gpu=self.spec.require_gpu,
        )

    def _used_before(self) -> float:
        """Seconds that earlier sessions of this run used, as the search noted them."""
        try:
            return float(json.loads((self.out / "run.json").read_text())["seconds"])
        except (OSError, ValueError, KeyError):
            return 0.0

    def follow(self) -> int:
        """Watch to the end of the search, over as many heads as the YAML allows; then end all."""
        interrupts = Interrupts()
        with interrupts.caught():
            for lost in range(self.spec.replacements + 1):
                watched = self._watch(interrupts)
                if watched.end is not End.LOST or interrupts.count:
                    break
                ended_by = self.state.notes.get("ended_by", "") if self.state.phase == "ended" else ""
                if ended_by:
                    self.log(f"the cluster was ended by {ended_by}")
                    return self._finish(1)
                self.log(f"the search lost its head: {watched.reason}")
                if lost == self.spec.replacements or not self._again():
                    return self.close(1)
            return self.close(watched.status)

    def _watch(self, interrupts: Interrupts) -> MonitorResult:
        lost_seconds = max(60.0, self.spec.network_minutes * 60)
        return monitor(
            self.state,
            self.provider,
            out=self.out,
            lost_seconds=lost_seconds,
            interrupts=interrupts,
            while_here=self.while_here,
            log=self.log,
        )

    def _again(self) -> bool:
        """A new cluster under the same cap, from the fetched state. False where that cannot be."""
        try:
            self.provider.end(self.state, log=self.log)
            if not (self.out / "plan.yaml").exists():
                self.log(f"nothing had been fetched into {self.out} yet: starting from the beginning")
            started = (self.out / "plan.yaml").exists()
            self.log("going on on a new cluster from the fetched state")
            self.start(speak_from_head=self.while_here is None, resume=started)
            return True
        except (ClusterError, ClusterFailed) as problem:
            self.log(f"it cannot go on: {problem}")
            return False

    def close(self, status: int) -> int:
        """Fetch, end every pod, compare the bill; the exit code, which is 1 where a pod may be left."""
        with Interrupts().caught():
            state = self.state
            if state.phase in ("searching", "fetching") and state.nodes:
                try:
                    states.update(self.name, phase="fetching")
                    fetched = fetch_last(
                        self.head, state.run, self.out, log=self.log, until=self._fetch_until()
                    )
                    if fetched and self.while_here:
                        self.while_here(self.out)
                except ClusterFailed as problem:
                    self.log(f"the last fetch failed ({problem}); {self.out} holds what came before")
                    status = status or 1
            try:
                bill = self.provider.end(self.state, log=self.log)
            except (ClusterError, ClusterFailed) as problem:
                print(f"error: {problem}", file=sys.stderr)
                return 1
            states.update(self.name, phase="ended")
            forget_secrets(self.name)
            if self.spec.require_gpu and state.nodes:
                note_throughput(self.name, state.head.gpu, self.out)
            self.log(f"no pod is left; {bill.text()}")
            self._write_bill(bill.ours_usd, bill.theirs_usd)
        return self._finish(status)

    def _fetch_until(self) -> float:
        """When the last fetch must be over: while money and hours are left, less the end of the pods."""
        spec, now = self.spec, time.time()
        deadline = self.state.deadline(max_usd=spec.max_usd, max_hours=spec.max_hours, now=now)
        return deadline - teardown_seconds(spec)

    def _write_bill(self, ours: float, theirs: float | None) -> None:
        if self.out.is_dir():
            row = {"cluster": self.name, "ours_usd": round(ours, 4), "provider_usd": theirs}
            (self.out / "cluster_bill.json").write_text(json.dumps(row) + "\n")

    def _finish(self, status: int) -> int:
        if status == 130 or (status and (self.out / "plan.yaml").exists()):
            self.log(f"what was made is in {self.out}; to go on: the same command with --resume")
        return status


def forget_secrets(name: str) -> None:
    """The key and the token of an ended cluster open nothing any more, and are removed all the same."""
    for secret in ("key", "token"):
        (states.folder(name) / secret).unlink(missing_ok=True)
