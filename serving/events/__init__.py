"""The event store: exposures, feedback, experiments and a journal, in SQLite or PostgreSQL."""
