"""Bayesian factorisation machine by the library myFM (extra ``myfm``): trained by it, served without it."""
