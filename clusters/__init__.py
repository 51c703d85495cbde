"""Where a search runs: this machine, a Ray cluster that is there, rented GPUs. Imports nothing of ours."""
