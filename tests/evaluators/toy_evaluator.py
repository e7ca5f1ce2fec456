"""What the worker tests measure with: a module of its own, so that other processes can import it."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from archimed.candidate import Measurements
from archimed.errors import SettingsError
from archimed.genotype import Genotype
from archimed.seeding import torch_seed

DIES, DIES_ONCE, MISTAKEN, UNKNOWN_SETTING = 100, 101, 102, 103  # first genes that spell trouble


@dataclass(frozen=True)
class ToyEvaluate:
    """Arithmetic and seeded chance; genotypes of an even first gene take longer."""

    folder: str

    def __call__(self, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        for genotype in genotypes:
            self.misbehave(genotype[0])
            time.sleep(0.03 if genotype[0] % 2 == 0 else 0)
            with torch_seed(0, "candidate", genotype):
                values = {"left": float(sum(genotype)), "right": float(torch.rand(())), "process": float(os.getpid())}
            yield Measurements({**values, "threads": float(torch.get_num_threads())}, 0.0)

    def misbehave(self, gene: int) -> None:
        met_before = Path(self.folder) / f"met_{gene}"
        if gene == DIES or (gene == DIES_ONCE and not met_before.exists()):
            met_before.touch()
            os._exit(9)
        if gene == MISTAKEN:
            raise TypeError("a mistake in the code")
        if gene == UNKNOWN_SETTING:
            raise SettingsError("Rule; value. Next step.")


class Unimportable:
    """Travels as the name of a thing that its module does not have."""

    def __reduce__(self) -> str:
        return "missing_from_this_module"
