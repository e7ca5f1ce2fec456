"""The DARTS and NSGA-Net cell spaces."""

from itertools import combinations_with_replacement, permutations, product
from math import factorial, prod

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from archimed.genotype import Choice, Genotype, random_genotype
from archimed.networks.operations import IDENTITY
from archimed.networks.summing_cell import CellPlan, SummingCell
from archimed.seeding import numpy_generator
from archimed.spaces.cell_graph import SumNode, normal_form
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(28, 28))
Space = DartsCellSpace | NsganetCellSpace


def size(choices: tuple[Choice, ...]) -> int:
    return prod(len(choice.options) for choice in choices)


def test_golden_count_of_darts() -> None:
    """Each cell has prod_k (k + 1) k / 2 * 7^2, about 1e9, discrete choices; the two cells about 1e18."""
    cell = prod((k + 1) * k // 2 * 7**2 for k in (1, 2, 3, 4))
    assert size(DartsCellSpace().choices) == cell**2
    assert 1.0e18 < cell**2 < 1.2e18
    assert size(DartsCellSpace(with_zero=True).choices) == (180 * 8**8) ** 2


def test_golden_count_of_nsganet() -> None:
    """Five blocks of two (operation of 9, input of the block's number + 1) pairs, in each of two cells."""
    assert size(NsganetCellSpace().choices) == (9**10 * factorial(6) ** 2) ** 2


def test_a_node_sums_its_edges_and_outputs_are_concatenated() -> None:
    plan = CellPlan(nodes=(((IDENTITY, 0), (IDENTITY, 1)), ((IDENTITY, 2), (IDENTITY, 2))), outputs=(2, 3))
    cell = SummingCell(plan, in_channels=(3, 5), width=4, spatial_dims=2, reduces=False, bridges=False).eval()
    before, last = torch.randn(2, 3, 6, 6), torch.randn(2, 5, 6, 6)
    total = cell.bring_before(before) + cell.bring_last(last)
    assert torch.allclose(cell(before, last), torch.cat([total, 2 * total], dim=1))


def test_cells_at_thirds_of_the_depth_reduce() -> None:
    space = DartsCellSpace(num_cells=8, width=4, stem_stride=1)
    network = space.build(random_genotype(space.choices, numpy_generator(0)), TASK)
    shapes: list[tuple[int, ...]] = []
    for cell in network.cells:  # type: ignore[union-attr]
        cell.register_forward_hook(lambda _cell, _inputs, output: shapes.append(tuple(output.shape[1:])))
    network(torch.zeros(2, 1, 28, 28))
    assert shapes == [(16, 28, 28)] * 2 + [(32, 14, 14)] * 3 + [(64, 7, 7)] * 3


def test_nsganet_concatenates_the_blocks_that_nothing_reads() -> None:
    space = NsganetCellSpace(num_cells=3, num_nodes=3, width=4)
    normal = (2, 0, 2, 1, 2, 2, 2, 0, 2, 1, 2, 1)  # block 1 reads the inputs, block 2 block 1, block 3 input 2 twice
    network = space.build(normal * 2, TASK)
    assert network.cells[0].outputs == (3, 4)  # type: ignore[index, union-attr]


def renumbered(nodes: tuple[SumNode, ...], order: tuple[int, ...]) -> tuple[SumNode, ...] | None:
    """The graph with node order[k] in place k, if every node still follows what it reads."""
    state = {0: 0, 1: 1} | {old + 2: new + 2 for new, old in enumerate(order)}
    graph = tuple(tuple(sorted((name, state[source]) for name, source in nodes[k])) for k in order)
    return graph if all(source < place for place, node in enumerate(graph, start=2) for _, source in node) else None


def cells(num_nodes: int, operations: str) -> list[tuple[SumNode, ...]]:
    nodes = [list(combinations_with_replacement(product(operations, range(k + 2)), 2)) for k in range(num_nodes)]
    return list(product(*nodes))


@pytest.mark.parametrize(("num_nodes", "operations"), [(2, "abc"), (3, "a")])
def test_graphs_are_merged_if_and_only_if_isomorphic(num_nodes: int, operations: str) -> None:
    graphs = cells(num_nodes, operations)
    form = {graph: normal_form(graph) for graph in graphs}
    orbits = {}
    for graph in graphs:
        images = (renumbered(graph, order) for order in permutations(range(num_nodes)))
        orbits[graph] = frozenset(image for image in images if image is not None)
    for graph in graphs:
        assert form[graph] in orbits[graph]  # the normal form is the graph itself, numbered anew
        assert {form[image] for image in orbits[graph]} == {form[graph]}
    assert len(set(form.values())) == len(set(orbits.values())) < len(graphs)


@pytest.mark.parametrize("seed", range(20))
def test_twins_with_weights_of_their_own_are_told_from_one_node_read_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    twins = ((("a", 0), ("b", 1)), (("a", 0), ("b", 1)))
    one_twice = (*twins, (("a", 2), ("a", 2)), (("b", 0), ("b", 3)))
    each_once = (*twins, (("a", 2), ("a", 3)), (("b", 0), ("b", 3)))
    order = next(o for o in iter(lambda: tuple(rng.permutation(4).tolist()), None) if renumbered(one_twice, o))
    again = renumbered(one_twice, order)
    assert again is not None
    assert normal_form(one_twice) == normal_form(again) != normal_form(each_once)


def cost(space: Space, genotype: Genotype) -> tuple[int, int]:
    network = space.build(genotype, TASK)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 1, 28, 28))
    return sum(weight.numel() for weight in network.parameters()), counter.get_total_flops() // 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "space",
    [
        DartsCellSpace(num_cells=3, width=4),
        DartsCellSpace(num_cells=3, width=4, with_zero=True),
        NsganetCellSpace(num_cells=3, width=4),
    ],
    ids=repr,
)
def test_canonical_genotypes_cost_the_same_and_stay(space: Space, seed: int) -> None:
    genotype = random_genotype(space.choices, numpy_generator(seed))
    form = space.canonical(genotype)
    assert space.canonical(form) == form
    assert cost(space, form) == cost(space, genotype)
