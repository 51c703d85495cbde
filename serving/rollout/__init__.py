"""Staged roll-outs of a release, with automatic roll-back."""
