"""Spreads pieces of work over workers: this process, processes of this machine, or a Ray cluster."""

from archimed.workers.crew import Crew, Lost
from archimed.workers.spreading import held, spread

__all__ = ["Crew", "Lost", "held", "spread"]
