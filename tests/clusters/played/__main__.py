"""Play a RunPod by hand: prints what to export, tells each change of its pods, and the ledger at Ctrl-C."""

from __future__ import annotations

import json
import sys
import time

from tests.clusters.played.api import PlayedApi
from tests.clusters.played.cloud import Cloud
from tests.clusters.played.namespaces import Namespaces


def main() -> int:
    machines = Namespaces()
    try:
        cloud = Cloud(machines, boot_seconds=float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)
        with PlayedApi(cloud, host=machines.bridge_ip) as api:
            print(f"export RUNPOD_API_URL={api.url} RUNPOD_API_KEY={cloud.account_key}", flush=True)
            seen = ""
            try:
                while True:
                    now = "\n".join(
                        f"{pod.request.name}: {pod.status} {pod.ended_by}" for pod in cloud.pods.values()
                    )
                    if now != seen:
                        seen = now
                        print(now, flush=True)
                    time.sleep(0.5)
            except KeyboardInterrupt:
                print(json.dumps(cloud.ledger(), indent=1))
    finally:
        machines.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
