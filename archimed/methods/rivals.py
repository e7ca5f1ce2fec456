"""The architecture drawn at random that stands beside a searched one, of about its size."""

from torch import nn

from archimed.genotype import Genotype, random_genotype
from archimed.methods.protocol import Selection
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces import SearchSpace
from archimed.task import ImagingTask

DRAWS = 32
NEAR = 0.1  # of the parameters of the searched network


def like_sized_rival(space: SearchSpace, searched: Genotype, task: ImagingTask, seed: int) -> Selection:
    """The first of 32 random architectures whose parameters are within a tenth of the searched one's, or the nearest.

    So what tells them apart is what was searched, not how large it is.
    """
    rng = numpy_generator(seed, "random architecture")
    wanted = parameter_count(space, searched, task)
    nearest, least = searched, float("inf")
    for _ in range(DRAWS):
        drawn = random_genotype(space.choices, rng)
        off = abs(parameter_count(space, drawn, task) / wanted - 1)
        if off < least:
            nearest, least = drawn, off
        if off <= NEAR:
            break
    rule = f"drawn at random from the same space, the first of {DRAWS} within a tenth of the searched one's parameters"
    return Selection("random-search", space, nearest, f"{rule}, or the nearest to them")


def parameter_count(space: SearchSpace, genotype: Genotype, task: ImagingTask) -> int:
    """Parameters of the network that a genotype builds."""
    with torch_seed(0, "size"):
        network: nn.Module = space.build(genotype, task)
    return sum(weight.numel() for weight in network.parameters())
