"""Retraining that closes the loop: events become data, data a release, a better release the champion."""
