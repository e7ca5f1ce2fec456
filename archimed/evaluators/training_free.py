"""Measures candidates by indicators of their untrained networks: no training, seconds per candidate."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from archimed.batch import Batch
from archimed.candidate import Measurements
from archimed.errors import ArchimedError
from archimed.genotype import Genotype
from archimed.indicators import INDICATORS, Indicator, measure_indicators
from archimed.networks.layers import undrawn_weights
from archimed.seeding import derive_seed, torch_seed
from archimed.spaces import SearchSpace, canonical
from archimed.spaces.protocol import BudgetedSpace
from archimed.task import ImagingTask
from archimed.workers.limits import OUT_OF_MEMORY, is_out_of_memory

ALWAYS = ("macs", "parameters")  # what every candidate costs, cheap to know


@dataclass(frozen=True)
class TrainingFree:
    """Evaluates genotypes by indicators on one mini-batch (MSTF-NAS, Sec. III-B), plus MACs and parameters.

    The network of a genotype is that of its canonical form, with initial weights that derive from the seed and this
    form alone: a score depends neither on the order of evaluation nor on which isomorphic twin was asked for.

    Attributes:
        space: builds the networks.
        task: what they are built for.
        batch: the images, already normalised, and targets of every measurement; networks move to its device.
        indicators: what to measure, by name.
        seed: the seed of the search.
    """

    space: SearchSpace
    task: ImagingTask
    batch: Batch
    indicators: Mapping[str, Indicator]
    seed: int

    def __call__(self, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        """Measurements of each genotype, one at a time, in order."""
        return (self.measure(genotype) for genotype in genotypes)

    def measure(self, genotype: Genotype) -> Measurements:
        """Build and measure one network; its failure, if it fails, is told and not raised."""
        start = time.perf_counter()
        try:
            values, failure = self._values(canonical(self.space, genotype)), None
        except ArchimedError:  # a setting to mend, not a candidate to drop
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one candidate must not cost the others
            values, failure = {}, reason_of(error)
        if failure is not None and self.batch.images.is_cuda:
            torch.cuda.empty_cache()  # or the next candidate fails for the memory of this one
        return Measurements(values, time.perf_counter() - start, failure)

    def _values(self, genotype: Genotype) -> dict[str, float]:
        counted: dict[str, float] = {}
        if isinstance(self.space, BudgetedSpace):  # without a pass
            cost = self.space.cost(genotype, self.task)
            counted = {"macs": float(cost.macs), "parameters": float(cost.parameters)}
        wanted = {**self.indicators, **{name: INDICATORS[name] for name in ALWAYS}}
        measured = {name: indicator for name, indicator in wanted.items() if name not in counted}
        undrawn = all(getattr(indicator, "draws_weights", False) for indicator in measured.values())
        with torch_seed(self.seed, "candidate", genotype), undrawn_weights() if undrawn else nullcontext():
            network = self.space.build(genotype, self.task).to(self.batch.images.device)
            found = measure_indicators(network, self.batch, measured, derive_seed(self.seed, "indicators", genotype))
        return {name: counted[name] if name in counted else found[name] for name in wanted}


def reason_of(error: Exception) -> str:
    """Why a candidate is dropped, in one line; want of memory is told as such, whatever it was raised as."""
    return f"{OUT_OF_MEMORY} ({one_line(error)})" if is_out_of_memory(error) else one_line(error)


def one_line(error: BaseException) -> str:
    """An error as one line: its kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
