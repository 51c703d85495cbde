"""Estimates for releases that have never been served, from logged traffic with exploration."""
