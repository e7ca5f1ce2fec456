import numpy as np
import pytest
from pymoo.operators.mutation.pm import mut_pm

from archimed.strategies.variation import polynomial_mutation, two_point_crossover


def probabilities(gene: int, options: int, eta: float) -> np.ndarray:
    """Of each option after a step: the cumulative distribution of Deb and Goyal (1996), inverted by hand.

    Below the start (delta <= 0) the density is half of (eta+1)(1+delta)^eta over its mass inside the bounds, and
    alike above it.
    """
    start = gene + 0.5

    def cumulative(x: float) -> float:
        delta = (x - start) / options
        if delta <= 0:
            outside = (1 - start / options) ** (eta + 1)
            return 0.5 * ((1 + delta) ** (eta + 1) - outside) / (1 - outside)
        outside = (1 - (options - start) / options) ** (eta + 1)
        return 1 - 0.5 * ((1 - delta) ** (eta + 1) - outside) / (1 - outside)

    return np.diff([cumulative(float(x)) for x in range(options + 1)])


@pytest.mark.parametrize(("gene", "options"), [(0, 2), (0, 8), (3, 8), (7, 8), (2, 5)])
@pytest.mark.parametrize("eta", [3.0, 20.0])
def test_mutation_has_the_polynomial_distribution(gene: int, options: int, eta: float) -> None:
    draws = 20_000
    genotype, counts = (gene,) * draws, (options,) * draws
    mutated = polynomial_mutation(genotype, counts, eta, 1.0, np.random.default_rng(0))
    expected = probabilities(gene, options, eta)
    assert expected.sum() == pytest.approx(1)
    observed = np.bincount(mutated, minlength=options) / draws
    np.testing.assert_allclose(observed, expected, atol=4 * np.sqrt(0.25 / draws))  # four standard errors at most


@pytest.mark.parametrize("eta", [3.0, 20.0])
def test_mutation_distributes_as_that_of_pymoo(eta: float) -> None:
    draws, gene, options = 20_000, 2, 6
    ours = polynomial_mutation((gene,) * draws, (options,) * draws, eta, 1.0, np.random.default_rng(0))
    theirs = mut_pm(
        np.full((draws, 1), float(gene)),
        np.array([-0.5]),
        np.array([options - 0.5]),
        np.full(draws, eta),
        np.ones(draws),
        at_least_once=False,
        random_state=np.random.default_rng(1),
    )
    theirs = np.rint(theirs[:, 0]).astype(int)
    difference = np.bincount(ours, minlength=options) - np.bincount(theirs, minlength=options)
    assert np.abs(difference / draws).max() < 4 * np.sqrt(0.5 / draws)


def test_mutation_rate_is_per_gene() -> None:
    draws, options = 20_000, 8
    mutated = np.array(polynomial_mutation((4,) * draws, (options,) * draws, 3.0, 0.1, np.random.default_rng(0)))
    moved = 1 - probabilities(4, options, 3.0)[4]
    assert (mutated != 4).mean() == pytest.approx(0.1 * moved, abs=4 * np.sqrt(0.1 / draws))


def test_mutation_stays_within_options_and_is_never_of_a_single_option() -> None:
    rng = np.random.default_rng(0)
    options = (1, 2, 3, 8, 1)
    for _ in range(500):
        genotype = tuple(int(rng.integers(count)) for count in options)
        mutated = polynomial_mutation(genotype, options, 3.0, 1.0, rng)
        assert all(type(gene) is int and 0 <= gene < count for gene, count in zip(mutated, options, strict=True))
    assert polynomial_mutation((), (), 3.0, 1.0, rng) == ()


def test_no_mutation_at_rate_zero() -> None:
    assert polynomial_mutation((1, 2, 3), (4, 4, 4), 3.0, 0.0, np.random.default_rng(0)) == (1, 2, 3)


def test_crossover_exchanges_one_inner_segment() -> None:
    rng, genes = np.random.default_rng(0), 9
    segments = set()
    for _ in range(3000):
        first, second = two_point_crossover((0,) * genes, (1,) * genes, rng)
        assert all(a + b == 1 for a, b in zip(first, second, strict=True))  # every gene goes to one of the two
        cuts = [n for n in range(1, genes) if first[n] != first[n - 1]]
        assert first[0] == 0
        assert len(cuts) == 2
        segments.add(tuple(cuts))
    assert len(segments) == 8 * 7 / 2  # every pair of distinct cuts comes up


def test_crossover_of_alike_parents_changes_nothing_and_keeps_places() -> None:
    rng = np.random.default_rng(0)
    assert two_point_crossover((1, 2, 3, 4), (1, 2, 3, 4), rng) == ((1, 2, 3, 4), (1, 2, 3, 4))
    first, second = two_point_crossover((0, 1, 2, 3, 4), (10, 11, 12, 13, 14), rng)
    assert [gene % 10 for gene in first] == [gene % 10 for gene in second] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("genes", [0, 1])
def test_nothing_to_cut(genes: int) -> None:
    parents = (0,) * genes, (1,) * genes
    assert two_point_crossover(*parents, np.random.default_rng(0)) == parents


def test_two_genes_have_one_cut() -> None:
    assert two_point_crossover((0, 0), (1, 1), np.random.default_rng(0)) == ((0, 1), (1, 0))
