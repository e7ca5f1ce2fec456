"""pNSGA-III: fronts in the plane of each target and the size, merged (Yang et al., 2020, CARS; EMARS, Sec. IV-B)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archimed.candidate import Candidate
from archimed.objectives import TargetsAndSize
from archimed.strategies.dominance import crowding_distances, non_dominated_fronts
from archimed.strategies.renewal import Renewal


@dataclass
class Pnsga3(Renewal):
    """Evolution by merged fronts; every survivor is measured again.

    A network that is best at any one target for its size survives, however it does at the others.
    """

    def select(self, candidates: Sequence[Candidate], room: int) -> list[int]:
        """Positions of the best `room` candidates, by stage (see `stages`)."""
        return pnsga3_selection(self.objectives, candidates, room)


def stages(objectives: TargetsAndSize, candidates: Sequence[Candidate]) -> list[list[int]]:
    """Positions of the first stage, of the second and so on, each in the order of the candidates.

    The n-th stage holds all candidates that are on the n-th front in any plane of a target and the size, and on none
    before it.
    """
    planes = [non_dominated_fronts(plane) for plane in objectives.planes(candidates)]
    merged: list[list[int]] = []
    placed: set[int] = set()
    for number in range(max(len(fronts) for fronts in planes)):
        members = {int(row) for fronts in planes if number < len(fronts) for row in fronts[number]} - placed
        placed |= members
        if members:
            merged.append(sorted(members))
    return merged


def pnsga3_selection(objectives: TargetsAndSize, candidates: Sequence[Candidate], room: int) -> list[int]:
    """Positions of `room` candidates: whole stages, then the least crowded of the next one.

    Crowding is measured in all objectives together; equals stay in order of age. (CARS fills up at random.)
    """
    kept: list[int] = []
    scores = objectives(candidates)
    for stage in stages(objectives, candidates):
        left = room - len(kept)
        if len(stage) > left:
            order = np.argsort(-crowding_distances(scores[stage]), kind="stable")[:left]
            return [*kept, *(stage[place] for place in order)]
        kept += stage
    return kept
