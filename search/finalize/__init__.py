"""Finishing a run: choose members, blend, evaluate once on test, pack the release."""
