"""What happened, kept: exposures, feedback, experiments and a journal, in SQLite or PostgreSQL."""
