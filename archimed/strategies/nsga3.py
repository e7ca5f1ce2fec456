"""NSGA-III: fronts over all objectives, the last of them filled by reference directions (Deb and Jain, 2014)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from archimed.candidate import Candidate
from archimed.errors import SettingsError
from archimed.objectives import Scores
from archimed.strategies.dominance import non_dominated_fronts
from archimed.strategies.renewal import Renewal

Directions = Float[np.ndarray, "direction objective"]


@dataclass
class Nsga3(Renewal):
    """Evolution by reference directions; every survivor is measured again.

    Ideal point and intercepts are those of the present population alone: shared weights drift, so what was reached
    before is no measure of what can be.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.objectives.size_signs) > 1:
            raise SettingsError(
                "nsga3 wants the size small or large, not both: no network would then be better than another; got "
                "the objective size. Write size:small or size:large, or set search.strategy=pnsga3."
            )

    def select(self, candidates: Sequence[Candidate], room: int) -> list[int]:
        """Positions of the best `room` candidates, by front."""
        scores = self.objectives(candidates)
        return nsga3_selection(scores, reference_directions(scores.shape[1], room), room, self.rng)


def reference_directions(objectives: int, least: int) -> Directions:
    """Evenly spread directions (Das and Dennis, 1998), at least so many where there is more than one objective."""
    from pymoo.util.ref_dirs import get_reference_directions

    partitions = 1
    while True:
        found: Directions = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
        if len(found) >= least or objectives == 1:
            return found
        partitions += 1


def nsga3_selection(scores: Scores, directions: Directions, room: int, rng: np.random.Generator) -> list[int]:
    """Rows of `room` scores, all minimised: whole fronts, then those near the directions that are the least taken."""
    from pymoo.algorithms.moo.nsga3 import (
        HyperplaneNormalization,
        associate_to_niches,
        calc_niche_count,
        niching,
    )

    fronts = non_dominated_fronts(scores)
    kept: list[int] = []
    while len(kept) + len(fronts[0]) <= room:
        kept += fronts.pop(0).tolist()
        if not fronts:
            return kept
    last = fronts[0]
    first_front = kept[: len(non_dominated_fronts(scores)[0])] if kept else last
    normal = HyperplaneNormalization(scores.shape[1])
    normal.update(scores, nds=np.asarray(first_front))
    considered = [*kept, *last.tolist()]
    niches, distances, _ = associate_to_niches(
        scores[considered], directions, normal.ideal_point, normal.nadir_point.astype(float)
    )
    taken, free = slice(0, len(kept)), slice(len(kept), None)
    counts = calc_niche_count(len(directions), niches[taken])
    chosen = niching(last, room - len(kept), counts, niches[free], distances[free], random_state=rng)
    return [*kept, *(int(last[place]) for place in chosen)]
