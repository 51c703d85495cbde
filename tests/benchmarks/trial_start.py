"""What it costs to start a trial: this search's long-lived workers next to plain Ray Tune, in one run.

    python -m tests.benchmarks.trial_start --trials 12

The cost of a trial is the time from the end of the one before, on the same worker, to the start of its
first epoch: a proposal, Tune's loop, a worker (new or kept), data, model, optimizer. One trial at a time.
Plain Tune starts an actor for each trial, which reads the ratings itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from recsys.bounds import DataShape
from recsys.data.data_spec import DataSpec
from recsys.data.split import TrainingData
from recsys.data.splits import make_split, training_data
from recsys.models.registry import make_config
from recsys.training.serialization import plain
from recsys.training.trial import Trial
from recsys.training.trial_types import EpochReport, RunEvent, TrialResult, TrialSpec
from recsys.types import JsonObject
from search.config.plan import make_plan
from search.sampling.family_sampler import FamilySampler, SamplerSettings
from search.sampling.remaining_work import Work
from search.sampling.search_space import Space
from search.sampling.trial_factory import Draw, Proposal
from search.tune.ray_cluster import ray_cluster
from search.tune.tuner import Search

DATA = "synthetic:users=600,items=400,ratings=30000"


class Clock:
    """Start costs in seconds: from the end of a trial to the start of the next one's first epoch."""

    def __init__(self) -> None:
        self.ended: float | None = None
        self.costs: list[float] = []

    def trial_started(self, spec: TrialSpec) -> None:
        """Nothing: Tune says so before the worker is ready."""

    def epoch(self, spec: TrialSpec, report: EpochReport) -> None:
        now = time.perf_counter()
        if report.epoch == 1 and self.ended is not None:
            self.costs.append(now - report.seconds - self.ended)

    def event(self, event: RunEvent) -> None:
        """Nothing."""

    def trial_finished(self, result: TrialResult) -> None:
        self.ended = time.perf_counter()


def load() -> TrainingData:
    dataset = DataSpec(DATA).load()
    return training_data(dataset, make_split(dataset, "random", seed=0))


def ours(data: TrainingData, count: int, folder: Path) -> list[float]:
    clock = Clock()
    space = Space("hybrid_vae", DataShape.of(data))
    settings = SamplerSettings(0, 3, True, ("rmse",), None)

    def compose(number: int, draw: Draw) -> Proposal:
        fields, draws = draw("hybrid_vae", None)
        return Proposal(spec_of(number, fields), draws)

    def nothing(*_: Any) -> None:
        return None

    search = Search(
        run=folder,
        plan=make_plan({}, {"concurrency": 1}),
        data=data,
        families={"hybrid_vae": FamilySampler(space, settings)},
        compose=compose,
        journal=nothing,
        listener=clock,
        should_end=nothing,
        tick=nothing,
        lists=None,
        patience=lambda: 60.0,
    )
    with ray_cluster(concurrency=1, gpus_per_trial=0, data_bytes=0) as resources:
        search.execute(Work(done=[], unfinished=[], numbers=list(range(count))), resources)
    return clock.costs


def spec_of(number: int, fields: JsonObject) -> TrialSpec:
    config = plain(make_config("hybrid_vae", {**fields, "start": "random"}))
    return TrialSpec(number, str(number), "hybrid_vae", config, epochs=1, seed=number)


class PlainTrial(tune.Trainable):  # type: ignore[misc]
    """A trial as Ray's own documentation writes one: everything in setup."""

    def setup(self, config: JsonObject) -> None:
        spec = spec_of(config["number"], {})
        self.trial = Trial(spec, load(), folder=Path(tempfile.mkdtemp()))

    def step(self) -> JsonObject:
        report = self.trial.step()
        return {"rmse": report.rmse, "report": json.dumps(asdict(report)), "done": True}


class PlainClock(tune.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.clock = Clock()

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: JsonObject, **_: Any) -> None:
        report = EpochReport(**json.loads(result["report"]))
        self.clock.epoch(spec_of(0, {}), report)
        self.clock.ended = time.perf_counter()


def plain_tune(count: int, folder: Path) -> list[float]:
    callback = PlainClock()
    with ray_cluster(concurrency=1, gpus_per_trial=0, data_bytes=0) as resources:
        tune.run(
            PlainTrial,
            config={"number": tune.grid_search(list(range(count)))},
            resources_per_trial={"cpu": resources.lanes.cpu.cpus},
            max_concurrent_trials=1,
            callbacks=[callback],
            storage_path=str(folder),
            verbose=0,
        )
    return callback.clock.costs


def main() -> None:
    command = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("--trials", type=int, default=12)
    options = command.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "this search": ours(load(), options.trials, Path(folder) / "ours"),
            "plain Ray Tune": plain_tune(options.trials, Path(folder) / "plain"),
        }
    print(f"{'start of a trial after the first, seconds':<44}{'median':>9}{'slowest':>9}{'trials':>8}")
    for name, costs in rows.items():
        print(f"{name:<44}{statistics.median(costs):>9.3f}{max(costs):>9.3f}{len(costs):>8}")
    medians = [statistics.median(costs) for costs in rows.values()]
    print(f"plain Ray Tune / this search: {medians[1] / medians[0]:.1f}x")


if __name__ == "__main__":
    main()
