"""The search: plans, proposals, the Ray Tune run, its tracking and report. Imports recsys and clusters."""
