"""The contract of an objective: what a search minimises over a population."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from archimed.candidate import Candidate
from archimed.errors import ContractError
from archimed.objectives import Objectives
from archimed.seeding import numpy_generator

SIZE = 7  # candidates of the made-up population


def check_objective(objective: Objectives, measurements: Sequence[str]) -> None:
    """Check that a search can minimise an objective over any population.

    It gives a finite number, or a row of them, for each candidate; repeats exactly; takes one candidate as well as
    several that are alike; a candidate's score does not depend on its place in the list.

    Args:
        objective: a function of candidates, see `archimed.objectives.Objectives`.
        measurements: the names that it reads from `candidate.measurements`, such as ("naswot", "macs").

    Raises:
        ContractError: the first law that does not hold.
    """
    rng = numpy_generator(0, "check_objective")
    population = [
        Candidate((number,), 0, {name: float(rng.lognormal()) for name in measurements}) for number in range(SIZE)
    ]
    told = [dict(candidate.measurements) for candidate in population]
    scores = _scores(objective, population, "candidates that differ")
    if not np.array_equal(_scores(objective, population, "candidates that differ"), scores):
        raise ContractError(
            "An objective repeats exactly; two calls with the same candidates differ. Chance belongs to the strategy."
        )
    if [dict(candidate.measurements) for candidate in population] != told:
        raise ContractError("An objective reads measurements; this one changed them. Work on a copy.")
    turned = _scores(objective, population[::-1], "the same candidates in another order")
    if not np.allclose(turned[::-1], scores, rtol=1e-9, atol=1e-12):
        raise ContractError(
            "A candidate's score does not depend on its place in the list; in another order the scores differ. "
            "Return them in the order of the candidates."
        )
    for name, few in (("one candidate", population[:1]), ("candidates that are alike", [population[0]] * 3)):
        columns = _scores(objective, few, name).shape[1]
        if columns != scores.shape[1]:
            raise ContractError(
                f"The number of objectives is always the same; it is {scores.shape[1]} for {SIZE} candidates and "
                f"{columns} for {name}. Return [candidate, objective]."
            )


def _scores(
    objective: Objectives, population: Sequence[Candidate], what: str
) -> Float[np.ndarray, "candidate objective"]:
    try:
        found = np.asarray(objective(population), dtype=np.float64)
    except KeyError as error:
        raise ContractError(
            f"An objective reads what was measured; it asked for {error}, which is not among the `measurements` named "
            "to check_objective. Name it there, and in a run measure it by search.indicators."
        ) from error
    except Exception as error:
        raise ContractError(
            f"An objective runs on any population; on {what} it raised {type(error).__name__}: {error}. Mend it."
        ) from error
    rows = found[:, None] if found.ndim == 1 else found
    if rows.ndim != 2 or len(rows) != len(population):
        raise ContractError(
            f"An objective returns [candidate] or [candidate, objective]; for {len(population)} candidates it gave "
            f"shape {found.shape}. Return one number, or one row, for each."
        )
    if not np.isfinite(rows).all():
        raise ContractError(
            f"Scores are finite, or none could be compared; of {what} it gave {rows.ravel().tolist()}. "
            "Where all values are equal a rescaling divides by zero: see archimed.objectives.rescale."
        )
    return rows
