"""How offspring differ from their parents: crossover and mutation of option numbers."""

import numpy as np

from archimed.genotype import Genotype


def two_point_crossover(first: Genotype, second: Genotype, rng: np.random.Generator) -> tuple[Genotype, Genotype]:
    """Two children that exchange the genes between two distinct cuts inside the genotype.

    A genotype of two genes has one place to cut and one of a single gene none.
    """
    genes = len(first)
    cuts = np.sort(rng.permutation(np.arange(1, genes))[:2]).tolist()
    if not cuts:
        return first, second
    start, end = cuts if len(cuts) == 2 else (cuts[0], genes)
    return (
        first[:start] + second[start:end] + first[end:],
        second[:start] + first[start:end] + second[end:],
    )


def polynomial_mutation(
    genotype: Genotype, options: tuple[int, ...], eta: float, rate: float, rng: np.random.Generator
) -> Genotype:
    """Move each gene, with probability `rate`, by a polynomially distributed step (Deb and Goyal, 1996).

    Each option is a unit interval of a line, so that the first and the last one are met like any other; a step that
    ends in the interval it started from changes nothing.

    Args:
        genotype: what to mutate.
        options: number of options of each gene.
        eta: distribution index, >= 0; the larger the shorter the steps.
        rate: probability that a gene takes a step.
        rng: the source of chance; two draws per gene, used or not.
    """
    genes = np.array(genotype, dtype=np.float64)
    widths = np.array(options, dtype=np.float64)
    steps, draws = rng.random((2, len(genes)))
    below, above = (genes + 0.5) / widths, (widths - genes - 0.5) / widths  # share of the line on either side
    power = eta + 1.0
    down = (2 * draws + (1 - 2 * draws) * (1 - below) ** power) ** (1 / power) - 1
    up = 1 - (2 * (1 - draws) + (2 * draws - 1) * (1 - above) ** power) ** (1 / power)
    moved = np.floor(genes + 0.5 + np.where(draws <= 0.5, down, up) * widths)
    mutated = np.where(steps < rate, np.clip(moved, 0, widths - 1), genes)
    return tuple(int(gene) for gene in mutated)


def uniform_crossover(first: Genotype, second: Genotype, rate: float, rng: np.random.Generator) -> Genotype:
    """The first parent with each gene, at probability `rate`, replaced by the second parent's (EMARS, Fig. 3 (a))."""
    swapped = rng.random(len(first)) < rate
    return tuple(other if swap else gene for gene, other, swap in zip(first, second, swapped, strict=True))


def resampled(genotype: Genotype, options: tuple[int, ...], rate: float, rng: np.random.Generator) -> Genotype:
    """Each gene, at probability `rate`, as another of its options, all alike (EMARS, Fig. 3 (b)).

    Args:
        genotype: what to mutate.
        options: number of options of each gene; a gene with one stays.
        rate: probability that a gene changes.
        rng: the source of chance; two draws per gene, used or not.
    """
    changes = rng.random(len(genotype)) < rate
    steps = [int(rng.integers(1, max(count, 2))) for count in options]
    return tuple(
        (gene + step) % count if change else gene
        for gene, step, count, change in zip(genotype, steps, options, changes, strict=True)
    )
