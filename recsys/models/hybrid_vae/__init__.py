"""The hybrid VAE: embeddings of a user and an item through a variational bottleneck to one rating.

The defaults are the owner's proven formula; every innovation is a named option of ``config.py``.
"""
