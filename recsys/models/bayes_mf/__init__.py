"""Bayesian matrix factorisation by Gibbs sampling, ordinal or Gaussian, with histories and side features.

Predictions average over the posterior instead of using a point estimate: the largest gain on small data.
"""
