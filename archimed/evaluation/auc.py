"""The area under the ROC curve as a rank statistic, for many weightings of the cases at once."""

import numpy as np
from jaxtyping import Bool, Float

from archimed.evaluation.counts import ratio


def weighted_auc(
    positive: Bool[np.ndarray, " case"],
    scores: Float[np.ndarray, " case"],
    weights: Float[np.ndarray, "case resample"],
) -> Float[np.ndarray, " resample"]:
    """Probability that a positive case scores above a negative one, ties counting half (Mann-Whitney U over pairs).

    A column of `weights` says how often each case counts, as in one bootstrap resample; a column of ones gives the
    plain AUC. A column in which one of the two classes has no weight gives NaN: its AUC is undefined.

    Each positive case meets the negatives below it and half of those equal to it. Both are read from one running
    sum of the negatives' weights in the order of their scores, so nothing is computed per pair.
    """
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(weights[negatives], axis=0, out=below[1:])
    first = np.searchsorted(scores[negatives], scores[positive], side="left")
    last = np.searchsorted(scores[negatives], scores[positive], side="right")
    beaten = below[first]
    beaten += below[last]
    beaten *= weights[positive]
    pairs = weights[positive].sum(axis=0) * below[-1]
    return ratio(beaten.sum(axis=0) / 2, pairs)
