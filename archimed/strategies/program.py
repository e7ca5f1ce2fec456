"""DeepMAD's mathematical program: what is maximised, over which structures, within what (Shen et al., CVPR 2023)."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import log

from archimed.errors import SettingsError
from archimed.indicators.entropy import LAST_WEIGHT, UNEVENNESS_WEIGHT, effectiveness, structure_score
from archimed.networks.residual_stages import Structure
from archimed.spaces.budgets import Budgets, cost
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.spaces.stage_moves import STEP
from archimed.task import ImagingTask

MOST_DEPTHS = 4_000_000  # numbers of blocks of all stages that are written out


@dataclass(frozen=True)
class Program:
    """What DeepMAD maximises, and within what.

    Attributes:
        space: the structures; one part a stage. All stages have blocks of one kind.
        task: the images.
        budgets: MACs, parameters, layers.
        effectiveness: rho, at most.
        last_weight: of the last scale's entropy (see `archimed.indicators.entropy`).
        unevenness_weight: of Q.
        widths_per_doubling: how finely widths are told apart; all are multiples of 8.
        least_inner_share: the width inside a block over that of the stage, at least; at most it is 1.
        most_growth: the width of a stage over that of the one before, at most; at least it is 1.
        most_stem: the stem's width, at most.
    """

    space: ResidualStagesSpace
    task: ImagingTask
    budgets: Budgets = field(default_factory=Budgets)
    effectiveness: float = 0.3
    last_weight: float = LAST_WEIGHT
    unevenness_weight: float = UNEVENNESS_WEIGHT
    widths_per_doubling: int = 4
    least_inner_share: float = 0.1
    most_growth: float = 4.0
    most_stem: int = 32

    def __post_init__(self) -> None:
        if self.space.parts != 1:
            raise SettingsError(
                f"DeepMAD's program gives every stage blocks of one form; got space.parts={self.space.parts}. Set "
                "space.parts=1, and space.most_layers for deeper stages."
            )
        if self.space.most_layers**self.space.stages > MOST_DEPTHS:
            raise SettingsError(
                f"DeepMAD's program writes out all depths of the stages, at most {MOST_DEPTHS:,}; got "
                f"{self.space.most_layers} blocks in each of {self.space.stages} stages. Lower space.most_layers."
            )

    @property
    def widths(self) -> list[int]:
        """The widths a stage may have: powers of two and steps of equal ratio between, as multiples of 8."""
        most, steps = self.space.most_width, self.widths_per_doubling
        count = int(log(most / STEP, 2) * steps) + 1
        return sorted({max(STEP, STEP * round(most / 2 ** (n / steps) / STEP)) for n in range(count + 1)})

    def fitted(self, structure: Structure) -> Structure:
        """The structure with the strides it has for the images."""
        return self.space.fitted(structure, self.task.image_size)

    def score(self, structure: Structure) -> float:
        """What is maximised (DeepMAD, Eq. 10), of a structure before its strides are fitted."""
        return structure_score(
            self.fitted(structure), self.task.channels, self.task.image_size, self.last_weight, self.unevenness_weight
        )

    def rho(self, structure: Structure) -> float:
        """The effectiveness of a structure."""
        return effectiveness(structure, self.task.channels, self.task.spatial_dims)

    def keeps(self, structure: Structure) -> bool:
        """Whether a structure keeps DeepMAD's constraints: budgets, rho, and widths that never shrink."""
        widths = [structure.stem_width, *(stage.width for stage in structure.stages)]
        return (
            all(before <= after for before, after in pairwise(widths))
            and self.rho(structure) <= self.effectiveness
            and self.budgets.admits(cost(self.fitted(structure), self.task))
        )

    def admits(self, structure: Structure) -> bool:
        """Whether a structure keeps these and all other constraints of the program but the grid of widths."""
        widths = [structure.stem_width, *(stage.width for stage in structure.stages)]
        return (
            structure.stem_width <= self.most_stem
            and all(after <= self.most_growth * before for before, after in pairwise(widths))
            and all(self.least_inner_share * one.width <= one.bottleneck_width <= one.width for one in structure.stages)
            and len({stage.block for stage in structure.stages}) == 1
            and self.keeps(structure)
        )
