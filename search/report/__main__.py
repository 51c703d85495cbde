"""``python -m search.report runs/NAME``: make a run's report.html again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recsys.errors import exit_code
from search.report import write_report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m search.report", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, e.g. runs/NAME")
    run: Path = parser.parse_args(arguments).run

    def write() -> int:
        print(write_report(run))
        return 0

    return exit_code(write)


if __name__ == "__main__":
    sys.exit(main())
