"""A sample of people for figures that are means over people, where lists for everybody would take too long.

People are sorted by activity and every so manieth is taken, from a random start: each person is as likely as
any other, and every level of activity has its share (systematic sampling, a stratification with one draw a
stratum). The error is that of successive differences (Wolter, "Introduction to variance estimation", 2007,
chapter 8), corrected for the share of all people that was taken.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray, IntArray

MOST_PEOPLE = 20_000  # whose lists are judged: NDCG@10 is then within about 0.004
Z95 = 1.959964


def sampled_people(users: IntArray, activity: IntArray, *, most: int, seed: int) -> IntArray:
    """At most ``most`` of ``users``, stratified by activity.

    Args:
        users: (n,) rows, each once.
        activity: (n,) ratings of each.
        most: People at most.
        seed: Of the start, and of the order among equals.

    Returns:
        The sample by rising activity, as ``sample_interval`` expects it; all ``users`` as they are where
        there are no more than ``most``.
    """
    if len(users) <= most:
        return users
    random = np.random.default_rng(seed)
    order = np.lexsort((random.random(len(users)), activity))
    positions = (np.arange(most) + random.random()) * (len(users) / most)
    chosen: IntArray = users[order[positions.astype(np.int64)]]
    return chosen


def sample_interval(values: FloatArray, population: int) -> tuple[float, float]:
    """95% interval of the mean over all ``population`` people.

    Args:
        values: (n,) figures of the sampled people, in the order of ``sampled_people``.
        population: People that were sampled from.
    """
    figures: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    mean, count = float(figures.mean()), len(figures)
    if count >= population or count < 2:
        return mean, mean
    variance = float(np.square(np.diff(figures)).mean()) / 2 * (1 - count / population) / count
    return mean - Z95 * math.sqrt(variance), mean + Z95 * math.sqrt(variance)
