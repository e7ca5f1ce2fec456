"""DeepMAD: structures scored one at a time in closed form, and the proof of an optimum by CP-SAT.

Run by `make bench`, or alone: python -m benchmarks.deepmad [--structures N] [--like RESNET] [--size PIXELS]
A structure's score, rho, MACs, parameters and depth are what the search measures of each; the floor is building and
scoring none. The proof needs OR-Tools (the extra `solver`); without it that line is left out.
"""

import argparse
import time
from typing import Any

from archimed.methods.deepmad import DeepMad, DeepMadSearch, measured
from archimed.seeding import numpy_generator
from archimed.strategies.mathematical_program import has_solver, solve
from archimed.strategies.program import Program
from archimed.strategies.program_evolution import drawn
from archimed.task import ImagingTask
from benchmarks.timing import machine, markdown_table

CLASSES = tuple(map(str, range(5)))


def rate(program: Program, count: int) -> tuple[float, float]:
    """Structures a second by the processor's time: measured whole, and the score alone."""
    rng = numpy_generator(0, "structures")
    structures = [one for one in (drawn(program, rng) for _ in range(count)) if one is not None]
    genotypes = [program.space.genotype(one) for one in structures]
    list(measured(program, genotypes[:10]))
    began = time.process_time()
    list(measured(program, genotypes))
    whole = len(genotypes) / (time.process_time() - began)
    began = time.process_time()
    for structure in structures:
        program.score(structure)
    return whole, len(structures) / (time.process_time() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=300)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--like", default="resnet50")
    arguments = parser.parse_args()
    task = ImagingTask("multi-label", CLASSES, 1, (arguments.size, arguments.size))
    like: Any = arguments.like
    program = DeepMad(search=DeepMadSearch(as_large_as=like)).program(task)
    whole, alone = rate(program, arguments.structures)
    rows = [
        ["structures a second: score, rho, MACs, parameters, depth", f"{whole:,.0f}"],
        ["structures a second: score alone", f"{alone:,.0f}"],
    ]
    if has_solver():
        solution = solve(program, 600.0)
        told = f"{solution.seconds:.1f} s" if solution.proven else f"none in {solution.seconds:.0f} s"
        rows.append([f"proof of the optimum within the budgets of {arguments.like} by CP-SAT", told])
    print(f"## DeepMAD\n\n{machine()}; images of {arguments.size} pixels.\n")
    print(markdown_table(["what", "measured"], rows) + "\n", flush=True)


if __name__ == "__main__":
    main()
