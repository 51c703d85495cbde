"""Hybrid VAE: embeddings of a user and an item, through a variational bottleneck, to a rating.

The defaults are the owner's proven formula; every innovation is an option of ``config.py``.
"""
