"""One file a library, with ``rate(problem, seed=, **settings)``, ``rank(...)`` or both.

``rate`` gives (pairs,) stars; ``rank`` (users, items) scores, higher is better, NaN for what it cannot score.
``DISTRIBUTION`` is the library's name for pip.

These files and ``problem.py`` need numpy, scipy and that library, and nothing of this project.
"""
