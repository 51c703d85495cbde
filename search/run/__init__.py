"""One session of a run: checks before it starts, its state while it runs, its budget and forecasts."""
