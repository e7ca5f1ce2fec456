"""How well one number ranks networks by another: Kendall's tau with bootstrap intervals over the networks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from archimed.evaluation.intervals import interval_row
from archimed.seeding import numpy_generator

Numbers = Float[np.ndarray, " network"]


def kendall_tau(first: Numbers, second: Numbers) -> float | None:
    """Kendall's tau-b, which allows for ties; None for fewer than two networks, or if either is constant."""
    found = float(weighted_tau(first, second, np.ones((len(first), 1)))[0]) if len(first) > 1 else np.nan
    return None if np.isnan(found) else found


def weighted_tau(
    first: Numbers, second: Numbers, weights: Float[np.ndarray, "network resample"]
) -> Float[np.ndarray, " resample"]:
    """Tau-b in every resample, in which each network occurs as often as `weights` says; NaN where undefined.

    A network drawn twice makes a pair that is tied in both numbers, and counts in neither root of the denominator.
    """
    rises = [np.sign(values[:, None] - values[None]) for values in (first, second)]

    def pairs(matrix: Float[np.ndarray, "network network"]) -> Float[np.ndarray, " resample"]:
        total: Float[np.ndarray, " resample"] = np.einsum("ir,ir->r", weights, matrix @ weights)
        return total

    root = np.sqrt(pairs(np.abs(rises[0])) * pairs(np.abs(rises[1])))
    tau: Float[np.ndarray, " resample"] = np.full(len(root), np.nan)
    np.divide(pairs(rises[0] * rises[1]), root, out=tau, where=root > 0)
    return tau


def rank_agreement(
    indicators: Mapping[str, Numbers],
    quality: Numbers,
    against: str,
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """How well each indicator ranks networks by their quality.

    Args:
        indicators: name -> value of every network; values that are not finite are left out, with their network.
        quality: of every network, the larger the better; NaN where unknown.
        against: the indicator that the others are measured against.
        seed: of the resampling of networks, the same ones for all indicators.
        resamples: number of bootstrap resamples.
        confidence: of the intervals.

    Returns:
        By indicator `networks` (used), `not_finite` (left out for it), `distinct` (different values), `tau` with
        `value`, `low` and `high`, and `above` with the same of tau minus that of `against`, on the networks that both
        tell of; None for that one itself, and where a tau is undefined.
    """
    count = len(quality)
    weights = numpy_generator(seed, "networks").multinomial(count, np.full(count, 1 / count), resamples).T.astype(float)
    known = {name: np.isfinite(values) & np.isfinite(quality) for name, values in indicators.items()}

    def tau(name: str, rows: Any) -> tuple[float | None, Float[np.ndarray, " resample"]]:
        values, own = indicators[name][rows], quality[rows]
        return kendall_tau(values, own), weighted_tau(values, own, weights[rows])

    found = {}
    for name, values in indicators.items():
        value, draws = tau(name, known[name])
        shared = known[name] & known[against]
        (one, ones), (other, others) = tau(name, shared), tau(against, shared)
        comparable = name != against and one is not None and other is not None
        found[name] = {
            "networks": int(known[name].sum()),
            "not_finite": int((np.isfinite(quality) & ~known[name]).sum()),
            "distinct": len(np.unique(values[known[name]])),
            "tau": interval_row(value, draws, confidence),
            "above": interval_row(one - other, ones - others, confidence)
            if comparable and one is not None and other is not None
            else None,
        }
    return found
