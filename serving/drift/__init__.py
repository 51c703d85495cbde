"""Live events against the profile that the release was packed with."""
