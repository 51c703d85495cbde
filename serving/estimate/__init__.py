"""Off-policy estimates for releases that were never served, from logged traffic with exploration."""
