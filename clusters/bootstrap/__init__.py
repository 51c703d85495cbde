"""What runs on a rented machine: the standard library only, for nothing of ours is installed there yet."""
