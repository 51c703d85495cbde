"""A release that rolls out, and back, by itself."""
