"""What an evaluator is: genotypes in, measurements out, one after the other."""

from collections.abc import Callable, Iterator, Sequence

from archimed.candidate import Measurements
from archimed.genotype import Genotype

Evaluate = Callable[[Sequence[Genotype]], Iterator[Measurements]]
"""Measures genotypes lazily and in order, so that an interrupted search loses one candidate at most.

A genotype that cannot be measured yields Measurements with a `failure`. What is measured depends on the genotype
alone, not on those beside or before it.
"""
