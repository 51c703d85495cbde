"""A Gaussian process for each user over the items, whose kernel comes from a Bayesian factorisation.

A factorisation's user is linear in the items' vectors; here they are also a smooth function of where an
item lies among them (Paterek 2007, kernel ridge regression on the vectors of an SVD), in closed form.
"""
