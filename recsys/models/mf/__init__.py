"""Biased matrix factorisation by variational Bayes: a strong baseline with hardly anything to tune."""
