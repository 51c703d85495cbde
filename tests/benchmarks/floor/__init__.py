"""Ours and peers on made-up ratings with a known floor: ``python -m tests.benchmarks.floor``."""
