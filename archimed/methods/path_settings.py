"""The settings of an evolution of paths that share weights."""

from typing import Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.errors import SettingsError
from archimed.objectives import TargetsAndSize
from archimed.strategies.bilevel import cosine


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PathSettings:
    """How paths of a supernet evolve while its weights learn, and how the front is judged in the end."""

    strategy: Literal["pnsga3", "nsga3"] = Field(
        default="pnsga3",
        description="how survivors are selected: pnsga3, by merged fronts of each target and the size (EMARS, released "
        "code), or nsga3, by reference directions (EMARS, as the paper says)",
    )
    objectives: tuple[str, ...] = Field(
        default=("accuracy", "potential", "size:small"),
        description="what survivors excel at: accuracy, potential (slope of a path's accuracies over its epochs), and "
        "size:small, size:large or, with pnsga3, size for both ends (EMARS, Figures 4 and 5)",
    )
    population_size: int = Field(default=20, ge=2, description="paths trained and measured in each epoch (EMARS)")
    keep: int = Field(default=10, ge=2, description="paths of them that survive it (EMARS)")
    first_candidates: int = Field(
        default=30,
        ge=2,
        description="random paths measured after the warm-up, of which the best are the first population (EMARS: many)",
    )
    newcomer_rate: float = Field(
        default=0.5, ge=0, le=1, description="share of new paths drawn at random; others descend (EMARS)"
    )
    crossover_rate: float = Field(
        default=0.3, ge=0, le=1, description="chance of a block of a child to be the second parent's (EMARS)"
    )
    mutation_rate: float = Field(
        default=0.2, ge=0, le=1, description="chance of a block of a child to change its operation (EMARS)"
    )
    warmup_epochs: int = Field(
        default=8, ge=1, description="first epochs, on paths drawn uniformly (ours; EMARS does not say)"
    )
    epochs: int = Field(default=20, ge=0, description="epochs of evolution after the warm-up (EMARS: 100)")
    batch_size: int = Field(default=16, ge=1, description="images per step, which trains one path (ours)")
    rounds: int | None = Field(
        default=2,
        ge=1,
        description="batches that each path of the population learns from in an epoch; empty: as many as show every "
        "case once (EMARS)",
    )
    learning_rate: float = Field(default=0.05, gt=0, description="first step size, SGD (ours; EMARS: 0.001)")
    least_learning_rate: float = Field(
        default=0.001, ge=0, description="step size that a cosine leads to over warm-up and evolution (ours)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD (ours; EMARS does not say)")
    weight_decay: float = Field(
        default=3e-4, ge=0, description="L2 penalty on the weights (EMARS prints this number as its momentum)"
    )
    clip: float = Field(default=5.0, gt=0, description="largest norm of a step's gradient (DARTS)")
    held_out: float = Field(
        default=0.2, gt=0, le=0.5, description="fraction of the training cases, by patient, that measures paths (ours)"
    )
    held_out_cases: int | None = Field(
        default=96,
        ge=2,
        description="the most of them, about, for each path is measured on all (ours); empty: no limit",
    )
    statistics_cases: int = Field(
        default=32,
        ge=0,
        description="training cases by whose features a path is normalised when it is measured (Guo 2020: "
        "statistics of the path alone); 0 takes the running averages of all paths (EMARS, released code)",
    )
    finalists: int = Field(
        default=5, ge=1, description="survivors of the last epoch that are trained on their own (ours; EMARS: 10)"
    )
    finalist_weights: Literal["shared", "fresh"] = Field(
        default="shared",
        description="what that training begins with: the path's shared weights, or weights of its own (ours; EMARS "
        "does not say)",
    )
    finalist_epochs: int = Field(
        default=3,
        ge=1,
        description="epochs of that short training, by the recipe of the run; the best on the validation part is "
        "chosen (EMARS: a few)",
    )
    image_size: int | None = Field(
        default=None, ge=8, description="pixels per side in the search (EMARS: 64); empty: as the data"
    )

    @model_validator(mode="after")
    def _sizes_rise(self) -> "PathSettings":
        if not self.keep <= self.population_size <= self.first_candidates:
            raise ValueError(
                f"keep, population_size and first_candidates must rise; got {self.keep}, {self.population_size} and "
                f"{self.first_candidates}"
            )
        return self

    def __post_init__(self) -> None:
        both_ends = len(self.wanted.size_signs) > 1
        if self.strategy == "nsga3" and both_ends:
            raise SettingsError(
                "nsga3 takes size:small or size:large: of networks wanted both small and large none would be better; "
                f"got {','.join(self.objectives)}. Name one of them, or set search.strategy=pnsga3."
            )

    @property
    def wanted(self) -> TargetsAndSize:
        """The objectives.

        Raises:
            SettingsError: they are none.
        """
        return TargetsAndSize(self.objectives)

    @property
    def planned_candidates(self) -> int:
        """Different paths that the search will measure at most."""
        return self.first_candidates + max(0, self.epochs - 1) * (self.population_size - self.keep)

    @property
    def all_epochs(self) -> int:
        """Passes over the training cases, the warm-up included."""
        return self.warmup_epochs + self.epochs

    def learning_rate_at(self, epoch: int) -> float:
        """The step size in an epoch, counted from 1."""
        return cosine(self.learning_rate, self.least_learning_rate, epoch, self.all_epochs)
