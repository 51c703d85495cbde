"""Drift detection: live events against the profile packed with the release."""
