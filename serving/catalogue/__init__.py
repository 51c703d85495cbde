"""The run-time catalogue: added, changed and hidden items, filters, and rules on lists."""
