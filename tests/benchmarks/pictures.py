"""Pictures of the README: a report and a recommendation page of a synthetic data set.

Runs a short search, serves its release on a free port of loopback, and takes two screenshots with Debian's
chromium through playwright (the extra ``ci``). MovieLens titles may not be published, so the
data is synthetic.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1100, "height": 900}
READY_SECONDS = 120
SEARCH = "synthetic:users=1500,items=400,ratings=50000"


def parser() -> argparse.ArgumentParser:
    """The command line of this benchmark."""
    made = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.pictures", description=__doc__.split("\n")[0]
    )
    made.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="where the two PNG files go")
    made.add_argument("--run", type=Path, help="a run to picture; without it a short search is run")
    return made


def search(folder: Path) -> Path:
    """A short search of synthetic ratings into ``folder``."""
    command = [sys.executable, "search/breakthrough.py", "--data", SEARCH, "--trials", "8", "--epochs", "5"]
    subprocess.run([*command, "--out", str(folder)], cwd=ROOT, check=True, timeout=900)
    return folder


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(address: str) -> None:
    """Returns once ``address`` is ready; raises TimeoutError after ``READY_SECONDS``."""
    for _ in range(READY_SECONDS):
        try:
            if requests.get(f"{address}/readyz", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(1)
    raise TimeoutError(f"{address}/readyz was not ready within {READY_SECONDS} s")


def take(run: Path, out: Path, address: str) -> None:
    """Writes report.png and recommendations.png into ``out``."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.goto((run / "report.html").resolve().as_uri())
        page.wait_for_timeout(500)
        page.screenshot(path=out / "report.png")
        page.goto(address)
        page.fill("#user", "1")
        page.click("#user-form button")
        page.wait_for_timeout(1500)
        page.screenshot(path=out / "recommendations.png")
        browser.close()


def main() -> int:
    """Runs a search where no run is given, serves it, takes the pictures."""
    asked = parser().parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        run = asked.run or search(Path(temporary) / "run")
        port = free_port()
        serve = [
            sys.executable,
            "-m",
            "serving",
            "serve",
            "--release",
            str(run / "release"),
            "--port",
            str(port),
        ]
        server = subprocess.Popen([*serve, "--events", str(Path(temporary) / "events.db")], cwd=ROOT)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            take(run, asked.out, f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(timeout=60)
    print(f"wrote {asked.out / 'report.png'} and {asked.out / 'recommendations.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
