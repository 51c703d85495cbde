"""Bayesian matrix factorisation by Gibbs sampling, ordinal or Gaussian, with histories and side features.

Averages over the posterior instead of one best point: on small data the largest single gain there is.
"""
