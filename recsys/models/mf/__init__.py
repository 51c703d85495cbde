"""Biased matrix factorisation by variational Bayes: the honest yardstick, with nearly nothing to tune."""
