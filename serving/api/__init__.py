"""The HTTP API: FastAPI routes over a ``Service``. No Ray here; testable alone."""
