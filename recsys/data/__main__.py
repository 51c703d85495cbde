"""What a search would understand of files of ratings; trains nothing.

    python -m recsys.data ratings.csv
    python -m recsys.data --json ratings.csv other.parquet

exit codes: 0 all can be read, 2 one cannot
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from recsys.data.data_spec import DataSpec
from recsys.data.options import add_reading_options, join_missing, read_options
from recsys.data.report import describe_dataset, describe_refusal, report_lines
from recsys.errors import InputError, exit_code


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(
        prog="python -m recsys.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="a table of ratings, a folder or a release")
    command.add_argument("--json", action="store_true", help="one JSON object a file")
    add_reading_options(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Report on every file; 2 where one is refused."""
    read_options(options)
    status = 0
    for file in options.files:
        try:
            dataset = DataSpec(data=file, **read_options(options)).load()
        except (InputError, OSError) as error:
            status = 2
            report, lines = describe_refusal(file, str(error)), [f"refused: {error}"]
        else:
            report = describe_dataset(file, dataset)
            lines = report_lines(report, dataset)
        if options.json:
            print(json.dumps(report))
        else:
            print("\n".join([file, *(f"  {line}" for line in lines)]))
        sys.stdout.flush()
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command."""
    options = parser().parse_args(join_missing(sys.argv[1:] if arguments is None else arguments))
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
