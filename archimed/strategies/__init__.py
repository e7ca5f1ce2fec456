"""Search strategies: asked for genotypes, told what became of them."""

from archimed.strategies.evolution import Evolution
from archimed.strategies.nsga2 import Nsga2
from archimed.strategies.nsga3 import Nsga3
from archimed.strategies.pnsga3 import Pnsga3
from archimed.strategies.protocol import Strategy
from archimed.strategies.random_search import RandomSearch

__all__ = ["Evolution", "Nsga2", "Nsga3", "Pnsga3", "RandomSearch", "Strategy"]
