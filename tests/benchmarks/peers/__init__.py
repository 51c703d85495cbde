"""Named peers and ours on one split, in one table: ``python -m tests.benchmarks.peers --data ml-100k``.

Every training of a peer is a process of its own, run by whatever Python has the library
(``../peers-requirements.txt``); it gets ratings to learn from and pairs to answer, never a test rating.
"""
