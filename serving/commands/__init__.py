"""The command line's parts: each module adds its arguments and runs."""
