"""Comparisons of networks of several runs with one reference, and of all with all: tests, corrections, effect sizes.

Two tests look at two kinds of chance. The paired bootstrap draws the same test cases again for both networks and the
seeds of each: would other patients, or other trainings, turn the difference round? The rank test of Mann and Whitney
looks at the seeds alone, as the X-ray study does (Sec. 3.4.3): do the trainings of one network end above those of the
other? With few seeds it cannot find anything, however large the difference; `rank_smallest_p_holm` tells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from math import comb
from typing import Any

from archimed.evaluation.bootstrap import Bootstrap
from archimed.evaluation.significance import RankTest, holm, paired_difference, rank_test, scores_by_seed

EFFECT_SIZES = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"))  # of |delta| (Romano et al., 2006)


def compare_with_reference(
    reference: str,
    networks: Mapping[str, Bootstrap],
    compared: Sequence[str],
    metrics: Sequence[str],
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Compare networks with one reference, named beforehand; one row per metric and network.

    Args:
        reference: the network that the others are measured against.
        networks: name -> its resampled metrics, all on the same cases.
        compared: the networks to compare with the reference.
        metrics: in which.
        confidence: of the intervals; differences are called beyond noise at 1 - confidence.

    Returns:
        Rows of `metric`, `network`, `against`, `value` (network minus reference), `low`, `high`, `p` (paired
        bootstrap), `p_holm` (Holm over the compared, within the metric), `beyond_noise` (`p_holm` below 1 -
        confidence), `seeds`, `seeds_against`, and of the ranks of the seeds `u`, `rank_p`, `rank_p_holm`,
        `rank_beyond_noise`, `rank_smallest_p`, `rank_smallest_p_holm` (what the two would be if every seed of one were
        above every seed of the other), `delta` (see `cliffs_delta`) and `effect` (its size in a word). Those of ranks
        are None below two seeds each.
    """
    rows = []
    for metric in metrics:
        pairs = [(networks[name], networks[reference]) for name in compared]
        differences = [paired_difference(first, second, metric, confidence) for first, second in pairs]
        corrected = holm([difference.p for difference in differences])
        seeds = [(scores_by_seed(first, metric), scores_by_seed(second, metric)) for first, second in pairs]
        ranks = [rank_test(first, second) for first, second in seeds]
        ranks_corrected = holm([None if test is None else test.p for test in ranks])
        tested = sum(test is not None for test in ranks)
        for k, name in enumerate(compared):
            counts = len(seeds[k][0]), len(seeds[k][1])
            p_holm, rank_p_holm = corrected[k], ranks_corrected[k]
            rows.append(
                {"metric": metric, "network": name, "against": reference}
                | asdict(differences[k])
                | {"p_holm": p_holm, "beyond_noise": p_holm is not None and p_holm < 1 - confidence}
                | {"seeds": counts[0], "seeds_against": counts[1]}
                | rank_row(ranks[k], counts, rank_p_holm, tested, confidence)
            )
    return rows


def rank_row(
    test: RankTest | None, seeds: tuple[int, int], p_holm: float | None, tested: int, confidence: float
) -> dict[str, Any]:
    """The columns of a rank test among `tested` ones of its family; None where there is none."""
    delta = None if test is None else cliffs_delta(test, *seeds)
    return {
        "u": None if test is None else test.u,
        "rank_p": None if test is None else test.p,
        "rank_p_holm": p_holm,
        "rank_beyond_noise": p_holm is not None and p_holm < 1 - confidence,
        "rank_smallest_p": None if test is None else test.smallest_p,
        "rank_smallest_p_holm": None if test is None else min(1.0, tested * test.smallest_p),
        "delta": delta,
        "effect": None if delta is None else effect_word(delta),
    }


def cliffs_delta(test: RankTest, first: int, second: int) -> float:
    """How much oftener a training of the first is above one of the second than below it, from -1 to 1.

    Cliff's delta (1993), which equals the rank-biserial correlation 2 U / (n m) - 1.
    """
    return 2 * test.u / (first * second) - 1


def effect_word(delta: float) -> str:
    """The size of a delta in a word (Romano et al., 2006)."""
    return next((word for limit, word in EFFECT_SIZES if abs(delta) < limit), "large")


def rank_matrix(networks: Mapping[str, Bootstrap], metric: str) -> list[list[float | None]]:
    """Mann-Whitney p of every network (row) against every other (column), not corrected: the X-ray study's Tables 9-14.

    The diagonal, and pairs with fewer than two seeds on a side, are None.
    """
    scores = [scores_by_seed(network, metric) for network in networks.values()]
    found: list[list[float | None]] = [[None] * len(scores) for _ in scores]
    for row, column in combinations(range(len(scores)), 2):
        test = rank_test(scores[row], scores[column])
        found[row][column] = found[column][row] = None if test is None else test.p
    return found


def smallest_all_pairs(seeds: Sequence[int]) -> tuple[int, float | None]:
    """How many pairs of networks there are, and the smallest p that any may have after Holm over all pairs.

    Args:
        seeds: of each network; a pair with fewer than two on a side is not tested.

    Returns:
        The number of pairs tested and the smallest corrected p; None for no pair.
    """
    tested = [(first, second) for first, second in combinations(seeds, 2) if min(first, second) >= 2]
    if not tested:
        return 0, None
    smallest = min(2 / comb(first + second, first) for first, second in tested)
    return len(tested), min(1.0, len(tested) * smallest)
