"""`python -m clusters`: each step of a cluster's life by hand."""

import sys

from clusters.cli import main

if __name__ == "__main__":
    sys.exit(main())
