"""Pareto fronts and crowding of a matrix of scores, all minimised; pymoo does the work."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from archimed.candidate import Candidate
from archimed.objectives import Objectives, Scores


def non_dominated_fronts(scores: Scores) -> list[Int[np.ndarray, " member"]]:
    """Row numbers of the first front, of the second and so on (fast non-dominated sort, Deb et al. 2002)."""
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    return [np.sort(front) for front in NonDominatedSorting().do(scores)]


def crowding_distances(front: Scores) -> Float[np.ndarray, " member"]:
    """Crowding distance of each member of one front: the emptier around it the larger, infinite at the ends.

    It is the mean, not the sum, over objectives of the rescaled gap between both neighbours; the order is the same.
    """
    from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function

    return np.asarray(get_crowding_function("cd").do(front), dtype=np.float64)


def dominates(one: Float[np.ndarray, " objective"], other: Float[np.ndarray, " objective"]) -> bool:
    """Whether one score is nowhere worse (higher) than the other and somewhere better."""
    return bool((one <= other).all() and (one < other).any())


def pareto_front(candidates: Sequence[Candidate], objectives: Objectives) -> list[Candidate]:
    """The candidates that no other dominates, scored as one population, in their given order."""
    if not candidates:
        return []
    return [candidates[row] for row in non_dominated_fronts(objectives(candidates))[0]]
