from itertools import permutations, product
from math import factorial, prod

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archimed.errors import SettingsError
from archimed.genotype import Genotype, describe, parse, random_genotype
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.cell_tree import Node, essential_nodes
from archimed.spaces.multiscale_cell import OPERATION_NAMES, MultiscaleCellSpace
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(28, 28))


def cost(network: nn.Module) -> tuple[int, int]:
    """Parameters, and MACs of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, TASK.channels, *TASK.image_size))
    return sum(weight.numel() for weight in network.parameters()), counter.get_total_flops() // 2


def test_golden_counts_of_the_paper() -> None:
    """Sec. III-A: o_N^n_N * n_N! * o_R^n_R architectures a block; Sec. IV-B: three and four blocks of 14 genes."""
    choices = MultiscaleCellSpace().choices
    assert prod(len(choice.options) for choice in choices[:14]) == 8**5 * factorial(5) * 6**4 == 5_096_079_360
    assert len(choices) == 42
    assert len(MultiscaleCellSpace(num_blocks=4).choices) == 56


def test_names_of_choices_are_those_of_the_paper() -> None:
    named = {choice.name: choice.options for choice in MultiscaleCellSpace().choices}
    assert len(named["block1.node1.operation"]) == 8
    assert named["block1.node1.input"] == ("input",)
    assert named["block3.node3.input"] == ("input", "node1", "node2")
    assert named["block2.pool4"] == (
        "max_pool_2", "average_pool_2", "max_pool_3", "average_pool_3", "max_pool_4", "average_pool_4",
    )  # fmt: skip


def test_parameters_of_a_network_in_closed_form() -> None:
    """One block: node 1 separable 3, node 2 identity of node 1 and node 3 zero, so node 2 alone leaves the cell."""
    space = MultiscaleCellSpace(num_blocks=1, num_nodes=3, num_pools=2, width=8, stem_stride=1)
    genes = {"node1": ("separable_conv_3", "input"), "node2": ("identity", "node1"), "node3": ("zero", "node2")}
    spelt = {f"block1.{node}.{part}": gene for node, pair in genes.items() for part, gene in zip(("operation", "input"), pair, strict=True)}  # fmt: skip # noqa: E501
    genotype = parse(spelt | {"block1.pool1": "max_pool_2", "block1.pool2": "average_pool_4"}, space.choices)
    width, norm = 8, 2 * 8
    stem = 9 * width + norm
    normal = (width**2 + norm) + 2 * (9 * width + width**2 + norm) + (width**2 + norm)
    reduction = 2 * (width * width // 2 + norm // 2)
    head = 2 * width + 2
    assert cost(space.build(genotype, TASK))[0] == stem + normal + reduction + head


def test_width_doubles_and_size_halves_block_by_block() -> None:
    space = MultiscaleCellSpace(width=8, stem_stride=4)
    network = space.build(random_genotype(space.choices, numpy_generator(0)), TASK)
    assert isinstance(network, nn.Sequential)
    features, shapes = torch.zeros(2, 1, 28, 28), []
    for layer in network[:-1]:
        features = layer(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(8, 7, 7), (8, 7, 7), (8, 4, 4), (16, 4, 4), (16, 2, 2), (32, 2, 2), (32, 1, 1)]


def test_only_unread_nodes_are_concatenated() -> None:
    space = MultiscaleCellSpace(num_blocks=1, num_nodes=5, width=4)
    network = space.build((0, 0, 1, 1, 2, 1, 3, 0, 4, 2, 0, 1, 2, 3), TASK)
    assert isinstance(network, nn.Sequential)
    assert network[1].outputs == (3, 4, 5)


def test_a_cell_of_zeros_still_builds_and_trains() -> None:
    space = MultiscaleCellSpace(num_blocks=2, num_nodes=2, width=4)
    zero = OPERATION_NAMES.index("zero")
    network = space.build((zero, 0, 0, 1, 0, 0, 0, 0) * 2, TASK)
    network(torch.randn(4, 1, 28, 28)).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(SettingsError, match="Try width 12"):
        MultiscaleCellSpace(width=10)


# Canonical form -------------------------------------------------------------------------------------------------------


def written_out(nodes: list[Node]) -> tuple[list[str], int]:
    """What a cell concatenates, spelt as formulas from its definition, and how many operations that takes."""
    operation = {k: name for k, (name, _) in enumerate(nodes, start=1)}
    source = {k: read for k, (_, read) in enumerate(nodes, start=1)}

    def alive(k: int) -> bool:
        return k == 0 or (operation[k] != "zero" and alive(source[k]))

    def formula(k: int) -> str:
        if k == 0:
            return "x"
        return formula(source[k]) if operation[k] == "identity" else f"{operation[k]}#{k}({formula(source[k])})"

    living = [k for k in operation if alive(k)]
    leaving = [formula(k) for k in living if k not in {source[j] for j in living}]
    return leaving, len([k for k in living if operation[k] != "identity"])


def without_numbers(formulas: list[str]) -> list[str]:
    return sorted("".join(c for c in formula if c != "#" and not c.isdigit()) for formula in formulas)


@pytest.mark.parametrize("seed", range(50))
def test_what_is_left_out_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("a", "b", "identity", "zero")
    nodes = [(str(rng.choice(names)), int(rng.integers(k))) for k in range(1, 8)]
    before, after = written_out(nodes), written_out(list(essential_nodes(nodes)))
    assert without_numbers(before[0]) == without_numbers(after[0])
    assert before[1] == after[1]


def isomorphic(first: tuple[Node, ...], second: tuple[Node, ...]) -> bool:
    """Whether some renumbering of the nodes turns one labelled graph into the other, by trying all of them."""
    if len(first) != len(second):
        return False
    for order in permutations(range(1, len(first) + 1)):
        new = {0: 0} | dict(enumerate(order, start=1))
        edges = {(new[k], name, new[source]) for k, (name, source) in enumerate(first, start=1)}
        if edges == {(k, name, source) for k, (name, source) in enumerate(second, start=1)}:
            return True
    return False


@pytest.mark.parametrize(("nodes", "options"), [(2, 8), (3, 2)])
def test_genotypes_are_merged_if_and_only_if_their_graphs_are_isomorphic(nodes: int, options: int) -> None:
    space = MultiscaleCellSpace(num_blocks=1, num_nodes=nodes, num_pools=2, width=2)
    kept = OPERATION_NAMES[-options:]  # identity and zero are the last two
    genes = [range(8 - options, 8) if i % 2 == 0 else range(i // 2 + 1) for i in range(2 * nodes)]
    cells = list(product(*genes))
    graphs = [essential_nodes([(OPERATION_NAMES[c[i]], c[i + 1]) for i in range(0, 2 * nodes, 2)]) for c in cells]
    forms = [space.canonical((*cell, 0, 0)) for cell in cells]
    assert len(kept) == options
    for i, j in product(range(len(cells)), repeat=2):
        assert (forms[i] == forms[j]) == isomorphic(graphs[i], graphs[j]), (cells[i], cells[j])


def test_poolings_are_merged_if_and_only_if_they_are_the_same_ones() -> None:
    space = MultiscaleCellSpace(num_blocks=1, num_nodes=1, num_pools=3, width=3)
    forms: dict[Genotype, set[Genotype]] = {}
    for pools in product(range(6), repeat=3):
        forms.setdefault(space.canonical((0, 0, *pools)), set()).add(tuple(sorted(pools)))
    assert all(len(multisets) == 1 for multisets in forms.values())
    assert len(forms) == 56  # multisets of 3 of 6: C(8, 3)


@pytest.mark.parametrize("seed", range(12))
def test_canonical_genotypes_cost_the_same_and_stay(seed: int) -> None:
    space = MultiscaleCellSpace(width=8)
    genotype = random_genotype(space.choices, numpy_generator(seed))
    form = space.canonical(genotype)
    assert space.canonical(form) == form
    assert cost(space.build(form, TASK)) == cost(space.build(genotype, TASK))
    assert parse(describe(form, space.choices), space.choices) == form


def test_merged_genotypes_build_the_same_function() -> None:
    """The same cell with two nodes swapped computes the same, once the weights are put where they belong."""
    space = MultiscaleCellSpace(num_blocks=1, num_nodes=2, num_pools=2, width=4)
    first, second = (0, 0, 3, 0, 1, 4), (3, 0, 0, 0, 4, 1)
    assert space.canonical(first) == space.canonical(second)
    with torch_seed(0):
        one, other = (space.build(genotype, TASK).eval() for genotype in (first, second))
        images = torch.randn(3, 1, 28, 28)
    weights = one.state_dict()
    swapped = {
        name.replace("operations.0", "operations.x").replace("operations.1", "operations.0").replace("operations.x", "operations.1")  # noqa: E501
        .replace("scales.0", "scales.x").replace("scales.1", "scales.0").replace("scales.x", "scales.1"): value
        for name, value in weights.items()
    }  # fmt: skip
    swapped["1.fuse.1.weight"] = weights["1.fuse.1.weight"].roll(4, dims=1)
    swapped["3.linear.weight"] = weights["3.linear.weight"].roll(2, dims=1)
    other.load_state_dict(swapped)
    with torch.no_grad():
        assert torch.allclose(one(images), other(images), atol=1e-6)
