"""The event store's schema, by Alembic: a numbered revision for each change, applied at opening."""
