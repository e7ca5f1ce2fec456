"""A method of your own: a space, a search and a training recipe. This one is MSTF-NAS with another choice at the end.

archimed run examples/own_method.py:Cheapest --data phantom:lesions2d --out runs/cheapest
"""

from dataclasses import dataclass
from typing import ClassVar

from archimed.methods.mstf_nas import MstfNas
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem, Selection
from archimed.methods.training_free import canonical_form, score_candidates
from archimed.seeding import numpy_generator


@dataclass(frozen=True)
class Cheapest(MstfNas):
    """The survivor with the fewest MACs is chosen."""

    name: ClassVar[str] = "cheapest"

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Evolve as MSTF-NAS does; `journal` holds what an interrupted search had measured and takes what is new."""
        strategy = self.search.make_strategy(
            choices=self.space.choices,
            objectives=self.search.objective_functions(),
            rng=numpy_generator(problem.seed, "cheapest"),
            population_size=self.search.population_size,
            offspring_size=self.search.offspring_size,
            canonical=canonical_form(self.space),
        )
        result = score_candidates(
            self.space, strategy, self.search, problem, journal, generations=self.search.generations + 1
        )
        best = min(result.survivors, key=lambda candidate: candidate.measurements["macs"])
        selection = Selection(
            self.name, self.space, best.genotype, "fewest MACs among the survivors", best.measurements
        )
        return SearchOutcome((selection,), result.unique_candidates)


if __name__ == "__main__":
    from archimed.methods.mstf_nas import MstfNasSearch
    from archimed.spaces.multiscale_cell import MultiscaleCellSpace
    from archimed.testing import check_method

    small = Cheapest(
        space=MultiscaleCellSpace(width=4, num_blocks=1, num_nodes=2, num_pools=2),
        search=MstfNasSearch(population_size=4, offspring_size=4, generations=1, batch_size=8),
    )
    check_method(small)
    print("the method keeps its contract")
