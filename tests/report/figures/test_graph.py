from itertools import combinations, pairwise

import numpy as np
import pytest

from archimed.genotype import describe, random_genotype
from archimed.report.architecture_graph import architecture_figures, block_graph, unread
from archimed.report.figures.graph import BOX_HEIGHT, GAP, Graph, Node, lay_out, rows_of, spread
from archimed.report.operation_words import operation_words
from archimed.report.summing_cells import part_choices, summing_cells, summing_graph
from archimed.spaces.cell_tree import essential_nodes
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.task import ImagingTask

SUMMING = [DartsCellSpace(with_zero=True), NsganetCellSpace()]
TASK = ImagingTask("binary", ("a", "b"), 1, (28, 28))


def block(seed: int) -> dict[str, str]:
    space = MultiscaleCellSpace(num_blocks=1)
    return part_choices(describe(random_genotype(space.choices, np.random.default_rng(seed)), space.choices), "block1")


def check_layout(graph: Graph) -> None:
    layout, rows = lay_out(graph), rows_of(graph)
    widths = {node.name: node.width for node in graph.nodes}
    for start, stop in graph.edges:
        assert layout.middles[start][1] < layout.middles[stop][1]
        route = layout.routes[start, stop]
        assert route[0] == layout.middles[start]
        assert route[-1] == layout.middles[stop]
        assert all(b[1] - a[1] > BOX_HEIGHT for a, b in pairwise(route))
    for one, other in combinations(widths, 2):
        if rows[one] == rows[other]:
            between = abs(layout.middles[one][0] - layout.middles[other][0])
            assert between >= (widths[one] + widths[other]) / 2 + GAP - 1e-6
    for name, (x, y) in layout.middles.items():
        assert widths[name] / 2 <= x <= layout.width - widths[name] / 2
        assert 0 < y < layout.height


@pytest.mark.parametrize("seed", range(25))
def test_boxes_never_overlap_and_edges_always_fall(seed: int) -> None:
    check_layout(block_graph(block(seed)))


@pytest.mark.parametrize("space", SUMMING)
@pytest.mark.parametrize("seed", range(5))
def test_cells_that_sum_are_drawn_too(space: DartsCellSpace | NsganetCellSpace, seed: int) -> None:
    genotype = describe(random_genotype(space.choices, np.random.default_rng(seed)), space.choices)
    assert summing_cells(genotype) == ["normal", "reduction"]
    graph = summing_graph(part_choices(genotype, "normal"))
    check_layout(graph)
    assert sum(node.words.endswith(" +") for node in graph.nodes) == space.num_nodes
    assert len([edge for edge in graph.edges if edge[1] not in {"join", "output"}]) == 4 * space.num_nodes
    figures = architecture_figures(genotype, {}, TASK)
    assert [figure.title for figure in figures] == ["Normal cell", "Reduction cell"]
    assert all("Input 1 is the output" in figure.reading for figure in figures)


@pytest.mark.parametrize("seed", range(60))
def test_what_the_drawing_concatenates_is_what_the_network_concatenates(seed: int) -> None:
    choices = block(seed)
    cell = {f"node{k}": (choices[f"node{k}.operation"], choices[f"node{k}.input"]) for k in range(1, 6)}
    sources = ["input", *cell]
    built = essential_nodes([(operation, sources.index(source)) for operation, source in cell.values()])
    read = {source for _, source in built}
    outputs = [operation for k, (operation, _) in enumerate(built, start=1) if k not in read]
    drawn = [cell[name][0] for name in unread(cell)]
    assert sorted(drawn) == sorted(outputs or [operation for operation, _ in cell.values()])


def test_every_choice_of_a_block_is_drawn() -> None:
    graph = block_graph(block(0))
    words = [node.words for node in graph.nodes]
    for name, option in block(0).items():
        if not name.endswith(".input"):
            assert operation_words(option) in words
    assert words.count("1×1, C/4") == 4


def test_operations_in_a_few_letters() -> None:
    names = ("separable_conv_3", "dilated_conv_5", "factorised_conv_7", "max_pool_2", "average_pool_4", "identity")
    words = [operation_words(name) for name in names]
    assert words == ["sep 3×3", "dil 5×5", "7×1, 1×7", "max 2×2", "avg 4×4", "identity"]


def test_another_space_has_no_graph() -> None:
    assert architecture_figures({"stage1.depth": "3", "stage1.width": "64"}, {}, TASK) == []
    assert architecture_figures({}, {}, TASK) == []


@pytest.mark.parametrize("seed", range(10))
def test_a_row_keeps_its_order_and_gaps_at_the_least_cost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = list("abcde")
    widths = dict(zip(row, rng.uniform(10, 60, 5).tolist(), strict=True))
    wanted = dict(zip(row, rng.normal(0, 60, 5).tolist(), strict=True))
    found = spread(row, wanted, widths)
    for one, other in pairwise(row):
        assert found[other] - found[one] >= (widths[one] + widths[other]) / 2 + GAP - 1e-6
    cost = sum((found[name] - wanted[name]) ** 2 for name in row)
    for _ in range(300):  # no feasible neighbour is better
        moved = {name: found[name] + float(rng.normal(0, 3)) for name in row}
        gaps = [moved[b] - moved[a] - (widths[a] + widths[b]) / 2 - GAP for a, b in pairwise(row)]
        if min(gaps) >= 0:
            assert sum((moved[name] - wanted[name]) ** 2 for name in row) >= cost - 1e-6


def test_a_row_with_room_stands_where_it_wants() -> None:
    assert spread(["a", "b"], {"a": 0.0, "b": 200.0}, {"a": 30, "b": 30}) == {"a": 0.0, "b": 200.0}


def test_two_equal_edges_are_one() -> None:
    graph = Graph((Node("a", "a"), Node("b", "b")), (("a", "b"), ("a", "b")))
    assert len(lay_out(graph).routes) == 1
