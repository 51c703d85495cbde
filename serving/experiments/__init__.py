"""Comparison of an experiment's arms by anytime-valid tests."""
