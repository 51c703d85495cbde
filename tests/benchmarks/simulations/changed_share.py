"""An A/A test over HTTP whose share changes from 10% to 50% half way: what the results say, seed by seed.

    python -m tests.benchmarks.simulations.changed_share --seeds 5

The same release in both arms. People are synthetic, and said so: who comes often comes early, comes back and
hits more, the case in which dropping those who are moved makes a difference out of nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.types import JsonObject
from tests.releases import make_release
from tests.serving.ops.here import operating
from tests.serving.running import ADMIN, AS_ADMIN

WINDOW_SECONDS = 6.0


def one_run(folder: Path, release: Path, *, users: int, seed: int) -> JsonObject:
    """The results after the window of the last user has closed; the share changes after half of the lists."""
    random = np.random.default_rng(seed)
    visits = np.minimum(random.zipf(1.6, users), 8)
    entry = random.random(users) ** np.log1p(visits)
    chance = np.minimum(0.1 * (1 + 0.3 * visits), 0.5)
    comings = sorted(
        (float(at), user)
        for user in range(users)
        for at in [entry[user], *(entry[user] + (1 - entry[user]) * random.random(visits[user] - 1))]
    )
    fields = {"experiment": {"salt": f"salt-{seed}"}, "operations": {"window_seconds": WINDOW_SECONDS}}
    with operating(folder, {"old": release, "new": release}, 0.9, 0.1, **fields) as made:
        for index, (_, user) in enumerate(comings):
            if index == len(comings) // 2:
                change = {"revision": 1, "shares": {"old": 0.5, "new": 0.5}, "reason": "ramp"}
                made.client.patch("/v1/experiments/main", json=change, headers=AS_ADMIN).raise_for_status()
            name = f"person-{user}"
            listed = made.list(name)
            if random.random() < chance[user]:
                click = {"event_id": f"e{index}", "kind": "click", "user_id": name}
                click |= {"item_id": listed["items"][0]["id"], "exposure_id": listed["exposure_id"]}
                made.client.post("/v1/feedback", json={"events": [click]}).raise_for_status()
        time.sleep(WINDOW_SECONDS + 2.5)
        result: JsonObject = made.client.get("/v1/experiments/main/results").json()
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.simulations.changed_share", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=5, help="runs (default 5)")
    parser.add_argument("--users", type=int, default=900, help="people a run (default 900)")
    options = parser.parse_args(arguments)
    os.environ["RECSYS_ADMIN_TOKEN"] = ADMIN
    print(f"A/A over HTTP, 10% -> 50% half way, {options.users:,} synthetic people a run")
    with tempfile.TemporaryDirectory() as folder:
        release = make_release(Path(folder) / "release")
        for seed in range(options.seeds):
            index = Path(folder) / str(seed)
            index.mkdir()
            body = one_run(index, release, users=options.users, seed=seed)
            row = next(entry for entry in body["comparisons"] if entry["metric"] == "hit_rate")
            counts = " / ".join(str(arm["users_matured"]) for arm in body["arms"])
            print(
                f"seed {seed}: {counts} users, {body['crossed_users']} shown both arms, "
                f"sample ratio p {row['sample_ratio_p']:.2f}. {row['verdict']['words']}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
