"""The threshold of each label of a multi-label task, chosen on validation cases and applied unchanged to others."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Bool, Float, Num

from archimed.evaluation.operating_point import below, threshold_of_best_f1
from archimed.evaluation.settings import ThresholdRule

HALF = 0.5
RULE_WORDS: Mapping[str, str] = {
    "best-f1": "the threshold of each label is that of its best F1 on the validation cases",
    "best-balance": "the threshold of each label is that of its best (TPR + 1 - FPR) / 2 on the validation cases",
    "half": "every label has the threshold 0.5",
}


def label_thresholds(
    target: Num[np.ndarray, "case label"],
    probabilities: Float[np.ndarray, "case label"],
    rule: ThresholdRule,
    least: int = 1,
) -> tuple[float, ...]:
    """One threshold for each label: a case is given the label above it.

    Args:
        target: of the validation cases: 0, 1, or NaN where unknown.
        probabilities: of the same.
        rule: `best-f1`, `best-balance` (see `threshold_of_best_balance`) or `half`.
        least: cases that must have a label, and that must not, for its threshold to be chosen.

    Returns:
        The thresholds; 0.5 for a label of which there are fewer cases of either kind.
    """
    choose = RULES.get(rule)
    if choose is None:
        return tuple(HALF for _ in range(target.shape[1]))
    undecided = undecided_labels(target, least)
    return tuple(
        HALF if undecided[k] else _chosen(choose, target[:, k], probabilities[:, k]) for k in range(target.shape[1])
    )


def undecided_labels(target: Num[np.ndarray, "case label"], least: int = 1) -> Bool[np.ndarray, " label"]:
    """Labels whose threshold these cases cannot choose: fewer than so many are known to have it, or not to have it."""
    fewer: Bool[np.ndarray, " label"] = np.minimum((target == 1).sum(axis=0), (target == 0).sum(axis=0)) < least
    return fewer


def threshold_of_best_balance(positive: Bool[np.ndarray, " case"], scores: Float[np.ndarray, " case"]) -> float | None:
    """The threshold of the highest (TPR + 1 - FPR) / 2; the lowest of several. None unless both answers occur.

    It is the point of the ROC curve farthest above its diagonal (Youden, 1950).
    """
    if positive.all() or not positive.any():
        return None
    lowest_called = np.unique(scores)
    missed = np.searchsorted(np.sort(scores[positive]), lowest_called)
    spared = np.searchsorted(np.sort(scores[~positive]), lowest_called)
    balance = spared * positive.sum() - missed * (~positive).sum()  # whole numbers, so that equals are equal
    return below(float(lowest_called[int(balance.argmax())]), scores)


def _chosen(
    choose: Callable[[Bool[np.ndarray, " case"], Float[np.ndarray, " case"]], float | None],
    target: Num[np.ndarray, " case"],
    probabilities: Float[np.ndarray, " case"],
) -> float:
    known = ~np.isnan(target)
    positive, scores = target[known] == 1, probabilities[known].astype(np.float64)
    found = choose(positive, scores)
    return HALF if found is None else found


RULES = {"best-f1": threshold_of_best_f1, "best-balance": threshold_of_best_balance}
