"""An objective of your own: what a search minimises, as a function of the whole population.

archimed run mstf-nas --data phantom:lesions2d --out runs/near \\
    --set search.objectives=naswot+log_synflow,examples/own_objective.py:far_from_budget
"""

from collections.abc import Sequence

import numpy as np

from archimed.candidate import Candidate

BUDGET = 2e6  # MACs of the networks that are wanted


def far_from_budget(candidates: Sequence[Candidate]) -> np.ndarray:
    """How far each network is from the budget, in factors of two: neither larger nor smaller ones are wanted."""
    macs = np.array([candidate.measurements["macs"] for candidate in candidates])
    return np.asarray(np.abs(np.log2(np.maximum(macs, 1.0) / BUDGET)))


if __name__ == "__main__":
    from archimed.testing import check_objective

    check_objective(far_from_budget, measurements=("macs",))
    print("the objective keeps its contract")
