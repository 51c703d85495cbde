"""Replay of the newest held-out ratings as live traffic."""
