"""Every strategy keeps the promises of `check_strategy`; a new one adds one row here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.objectives import SignedSums, TargetsAndSize
from archimed.strategies import Evolution, Nsga2, Nsga3, Pnsga3, RandomSearch, Strategy
from archimed.strategies.contract import check_strategy
from archimed.strategies.variation import resampled

CHOICES = tuple(Choice(f"gene_{n}", tuple("abcde")[: 2 + n % 4]) for n in range(6))
OBJECTIVES = SignedSums(("left", "-right"))
PATHS = TargetsAndSize(("accuracy", "potential", "size:small"))


def evolution(rng: np.random.Generator) -> Evolution:
    return Evolution(
        draw=lambda rng: random_genotype(CHOICES, rng),
        mutate=lambda genotype, rng: resampled(genotype, tuple(len(choice.options) for choice in CHOICES), 0.5, rng),
        admits=lambda genotype: sum(genotype) % 5 > 0,
        objectives=SignedSums(("left",)),
        rng=rng,
        count=40,
        population_size=6,
        offspring_size=4,
    )


STRATEGIES: Mapping[str, tuple[Callable[[np.random.Generator], Strategy], int]] = {
    "nsga2": (lambda rng: Nsga2(CHOICES, OBJECTIVES, rng, population_size=10, offspring_size=7), 10),
    "nsga3": (lambda rng: Nsga3(CHOICES, PATHS, rng, first_size=12, population_size=10, keep=5), 10),
    "pnsga3": (lambda rng: Pnsga3(CHOICES, PATHS, rng, first_size=12, population_size=10, keep=5), 10),
    "evolution": (evolution, 6),
    "random_search": (lambda rng: RandomSearch(CHOICES, 25, rng, batch_size=10), 25),
}


def measure(genotype: Genotype) -> Mapping[str, float]:
    left, right = float(sum(genotype[:4])), float(sum(genotype[2:]))
    return {"left": left, "right": right, "accuracy": left, "potential": right, "size": float(sum(genotype))}


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategy_keeps_its_promises(name: str) -> None:
    make, population_size = STRATEGIES[name]
    check_strategy(make, CHOICES, measure, population_size)


@dataclass
class Faulty:
    """Breaks one promise."""

    fault: str
    rng: np.random.Generator
    survivors: list[Candidate] = field(default_factory=list)

    def ask(self) -> list[Genotype]:
        if self.fault == "asks nothing":
            return []
        if self.fault == "impossible option":
            return [(9,) * len(CHOICES)]
        if self.fault == "numpy genes":
            return [tuple(np.zeros(len(CHOICES), dtype=int))]
        if self.fault == "hidden chance":
            rng = np.random.default_rng()
            return [tuple(int(rng.integers(2)) for _ in CHOICES) for _ in range(9)]
        return [(0,) * len(CHOICES), (1,) * len(CHOICES)]

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        if self.fault == "keeps dropped":
            self.survivors = list(evaluated)
        elif self.fault == "keeps too many":
            self.survivors += [candidate for candidate in evaluated if candidate.dropped is None]
        elif self.fault == "invents":
            self.survivors = [Candidate((0,) * len(CHOICES), 0, {"left": 1.0, "right": 1.0})]
        elif self.fault == "keeps nothing":
            self.survivors = []


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        ("asks nothing", "asks for something"),
        ("impossible option", "asks for genotypes of its choices"),
        ("numpy genes", "tuple of int"),
        ("hidden chance", "Equal generators"),
        ("keeps dropped", "No dropped"),
        ("keeps too many", "At most 3"),
        ("invents", "among those told"),
        ("keeps nothing", "Something survives"),
    ],
)
def test_broken_promise_is_named(fault: str, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_strategy(lambda rng: Faulty(fault, rng), CHOICES, measure, population_size=3)
