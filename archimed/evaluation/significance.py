"""Is one network better than another: paired differences on the same patients, rank tests over seeds, Holm.

Only comparisons named before the test set was read are made: each baseline against the method's own choice. Several
of them at once would find a "significant" difference by chance, so their p-values go through Holm's correction,
one family per metric.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb

import numpy as np

from archimed.evaluation.bootstrap import Bootstrap
from archimed.evaluation.intervals import interval_row

MOST_ARRANGEMENTS = 20_000  # of the pooled ranks that an exact rank test lists one by one


@dataclass(frozen=True)
class Difference:
    """How much a first network exceeds a second in one metric, on the same test cases.

    Attributes:
        value: difference of the means over repeats; None if one of them is undefined.
        low: lower end of its interval; None if undefined.
        high: upper end of its interval.
        p: two-sided bootstrap p-value: twice the share of resamples on the smaller side of zero. It cannot be
            smaller than 2 / (resamples + 1).
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class RankTest:
    """Mann-Whitney U of the scores of repeated trainings, two-sided.

    Attributes:
        u: pairs in which the first is larger, ties counting half.
        p: exact p-value where the arrangements can be listed.
        smallest_p: what p would be if every seed of one network beat every seed of the other; three seeds against
            three cannot get below 0.1.
    """

    u: float
    p: float
    smallest_p: float


def paired_difference(first: Bootstrap, second: Bootstrap, metric: str, confidence: float = 0.95) -> Difference:
    """First minus second, resampling the same patients in both and the seeds of each apart.

    Raises:
        ValueError: if the two were not tested on the same cases, or resampled differently.
    """
    if first.tested_on != second.tested_on or first.seed != second.seed:
        raise ValueError(
            "A paired comparison needs two networks tested on the same cases and resampled with the same seed; "
            "these differ. Evaluate both on the same folds."
        )
    one, other = first.values[metric], second.values[metric]
    if one is None or other is None:
        return Difference(None, None, None, None)
    draws = first.draws[metric] - second.draws[metric]
    row = interval_row(one - other, draws, confidence)
    if row["low"] is None:
        return Difference(one - other, None, None, None)
    return Difference(one - other, row["low"], row["high"], two_sided_p(draws[~np.isnan(draws)]))


def two_sided_p(draws: np.ndarray) -> float:
    """Twice the share of resampled differences at or beyond zero on the rarer side, at most 1."""
    smaller = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (smaller + 1) / (len(draws) + 1))


def inside_noise(difference: Difference) -> bool:
    """True if the interval of the difference holds zero, or if there is no interval to tell."""
    if difference.low is None or difference.high is None:
        return True
    return difference.low <= 0 <= difference.high


def rank_test(first: Sequence[float], second: Sequence[float]) -> RankTest | None:
    """Mann-Whitney U between the scores of two networks' seeds; None if either has fewer than two.

    Ties are handled exactly as long as the arrangements of the pooled scores can be listed.
    """
    if min(len(first), len(second)) < 2:
        return None
    from scipy import stats

    arrangements = comb(len(first) + len(second), len(first))
    method = "auto"
    if arrangements <= MOST_ARRANGEMENTS:
        method = stats.PermutationMethod(n_resamples=arrangements)
    found = stats.mannwhitneyu(first, second, alternative="two-sided", method=method)
    return RankTest(float(found.statistic), min(1.0, float(found.pvalue)), 2 / arrangements)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction: p-values that keep the chance of any false alarm in the family (Holm, 1979).

    The smallest of m is multiplied by m, the next by m - 1, and none may fall below the one before it. None stays
    None and does not count.
    """
    order = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    reached = 0.0
    for rank, (p, k) in enumerate(order):
        reached = max(reached, min(1.0, p * (len(order) - rank)))
        corrected[k] = reached
    return corrected


def compare_with(
    chosen: str, networks: Mapping[str, Bootstrap], metrics: Sequence[str], confidence: float = 0.95
) -> list[dict[str, str | float | bool | None]]:
    """Compare the method's own choice with every other network, one row per metric and other network.

    Args:
        chosen: name of the method's network.
        networks: name -> its resampled metrics; networks not tested on the same cases are refused.
        metrics: names of the metrics to compare in, named beforehand.
        confidence: of the intervals.

    Returns:
        Rows of `metric`, `network` (the chosen), `against`, `value` (chosen minus other), `low`, `high`, `p`,
        `p_holm` (corrected over the others, within the metric), `inside_noise`, `rank_p` and `rank_smallest_p`
        (Mann-Whitney over seeds; None below two seeds each).
    """
    rows: list[dict[str, str | float | bool | None]] = []
    others = [name for name in networks if name != chosen]
    for metric in metrics:
        differences = [paired_difference(networks[chosen], networks[name], metric, confidence) for name in others]
        corrected = holm([difference.p for difference in differences])
        for name, difference, p_holm in zip(others, differences, corrected, strict=True):
            ranks = rank_test(scores_by_seed(networks[chosen], metric), scores_by_seed(networks[name], metric))
            rows.append(
                {"metric": metric, "network": chosen, "against": name}
                | asdict(difference)
                | {
                    "p_holm": p_holm,
                    "inside_noise": inside_noise(difference),
                    "rank_p": None if ranks is None else ranks.p,
                    "rank_smallest_p": None if ranks is None else ranks.smallest_p,
                }
            )
    return rows


def scores_by_seed(bootstrap: Bootstrap, metric: str) -> list[float]:
    """The metric of each training seed, averaged over its folds; seeds in which it is undefined are left out."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for repeat in bootstrap.repeats:
        value = repeat.values[metric]
        if value is not None:
            by_seed[repeat.seed].append(value)
    return [float(np.mean(values)) for _, values in sorted(by_seed.items())]
