"""Arms compared so that the result can be trusted, and looked at every minute."""
