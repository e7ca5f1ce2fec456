"""A candidate: one genotype of a search with what was measured on it, or why it was dropped."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from archimed.genotype import Genotype


@dataclass(frozen=True)
class Measurements:
    """What an evaluator found out about one genotype.

    Attributes:
        values: raw numbers by name (an indicator, `macs`, `parameters`, an accuracy), never signed or scaled.
        seconds: wall-clock time spent on it.
        failure: why it could not be measured, in one line; None if it could.
    """

    values: Mapping[str, float]
    seconds: float
    failure: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One evaluated genotype. `dropped` says why it takes no part in selection; None if it does."""

    genotype: Genotype
    generation: int
    measurements: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    dropped: str | None = None
