"""One session of a run: checked before it starts, followed while it goes, kept on disk."""
