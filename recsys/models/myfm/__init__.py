"""Bayesian factorisation machine: trained by the library myFM (extra ``myfm``), served without it."""
