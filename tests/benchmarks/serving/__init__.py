"""What an answer costs over HTTP, beside the alternatives: ``python -m tests.benchmarks.serving``."""
