"""Inverse propensities of ratings that our own lists brought about, as weights of their errors.

What a list shows is rated more often: under plain errors a model is judged, and fitted, on what the models
before it chose to show. Weighting each such rating by 1 / the probability with which the list held its item
undoes that (Schnabel, Swaminathan, Singh, Chandak and Joachims, "Recommendations as Treatments: Debiasing
Learning and Evaluation", ICML 2016). A weight is at most ``CLIP``, which costs some bias and bounds the
variance; the weights are self-normalised to a mean of 1, so that exposed ratings keep their part beside the
others. It needs exploration: under lists without any, every propensity is 1 and every weight too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatArray, JsonObject

CLIP = 20.0


def exposure_weights(propensities: FloatArray) -> NDArray[np.float32]:
    """(n,) of ratings with ``propensities`` (n,); 1 where that is NaN: no list of ours held the item."""
    weights = np.ones(len(propensities), dtype=np.float32)
    exposed = ~np.isnan(propensities)
    if exposed.any():
        inverse = 1 / np.maximum(propensities[exposed].astype(np.float64), 1 / CLIP)
        weights[exposed] = inverse / inverse.mean()
    return weights


def weights_lineage(weights: FloatArray, propensities: FloatArray) -> JsonObject:
    """How many ratings are weighed, by what at most, how many weights were clipped, and how many ratings of
    one weight would be worth as much (``effective``: Kish's effective sample size)."""
    exposed = ~np.isnan(propensities)
    exposed_weights = weights[exposed].astype(np.float64)
    return {
        "weighed": int(exposed.sum()),
        "clip": CLIP,
        "clipped": int((propensities[exposed] < 1 / CLIP).sum()),
        "largest": float(exposed_weights.max()) if len(exposed_weights) else None,
        "effective": float(exposed_weights.sum() ** 2 / np.square(exposed_weights).sum())
        if len(exposed_weights)
        else 0.0,
    }
