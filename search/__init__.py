"""The search, from a question to a release: one folder a phase. Imports recsys and clusters."""
