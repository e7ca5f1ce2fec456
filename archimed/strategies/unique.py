"""Draws genotypes until enough of them are new."""

from collections.abc import Callable, Iterable

from archimed.genotype import Genotype
from archimed.strategies.protocol import Canonical

RETRIES = 100  # as NSGA-Net


def draw_unique(
    draw: Callable[[int], Iterable[Genotype]],
    count: int,
    taken: Iterable[Genotype],
    canonical: Canonical,
    retries: int = RETRIES,
) -> list[Genotype]:
    """Up to `count` genotypes that differ, in canonical form, from each other and from those taken.

    Args:
        draw: gives about as many genotypes as it is asked for; more than needed are discarded.
        count: genotypes wanted.
        taken: canonical forms that must not come again.
        canonical: two genotypes are duplicates if this maps them to the same one.
        retries: how often missing ones are drawn again; fewer than `count` come back when these are used up.
    """
    seen = set(taken)
    unique: list[Genotype] = []
    for _ in range(1 + retries):
        for genotype in draw(count - len(unique)):
            form = canonical(genotype)
            if form not in seen and len(unique) < count:
                seen.add(form)
                unique.append(genotype)
        if len(unique) == count:
            break
    return unique
