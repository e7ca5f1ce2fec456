from typing import Any

import numpy as np
import pytest

from archimed.genotype import describe, random_genotype
from archimed.report.architecture_graph import architecture_figures, architecture_legend, fusion_in_words
from archimed.report.operation_words import legend, operation_of, operation_words
from archimed.report.summing_cells import cell_inputs, fusion_words, modality_names, part_choices, summing_graph
from archimed.spaces import space_settings
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.task import ImagingTask

PETCT: dict[str, Any] = {"name": "fusion_cell", "modalities": None, "num_normal": 1}
VOLUMES = ImagingTask("binary", ("a", "b"), 2, (8, 8, 8), ("PET", "CT"))
NORMAL = {
    "node1.inputs": "input1+input2",
    "node1.operation1": "conv_3",
    "node1.operation2": "separable_conv_5",
    "node2.inputs": "input1+node1",
    "node2.operation1": "identity",
    "node2.operation2": "max_pool_3",
}


def test_fusion_is_told_in_words() -> None:
    inputs = cell_inputs(PETCT, ("PET", "CT"))
    assert fusion_words(NORMAL, inputs["normal"], 2) == [
        "Node 1 fuses PET and CT: it adds convolution 3×3 of PET and separable convolution 5×5 of CT.",
        "Node 2 adds PET unchanged and max pooling 3×3 of node 1.",
    ]
    assert fusion_words(NORMAL, inputs["reduction"], 3)[0] == (
        "Node 1 adds convolution 3×3×3 of the normal cell and separable convolution 5×5×5 of the sum of PET and CT."
    )


def test_a_modality_that_no_node_reads_is_named() -> None:
    space = {"name": "fusion_cell", "modalities": [1, 1, 2]}
    inputs = cell_inputs(space, ("PET", "CT", "T1", "T2"))
    assert inputs["normal"].boxes == ("PET stem", "CT stem", "T1+T2 stem")
    assert "No node reads T1+T2." in fusion_words(NORMAL, inputs["normal"], 2)
    assert inputs["reduction"].words[1] == "the channels of PET, CT and T1+T2"


@pytest.mark.parametrize(
    ("modalities", "channels", "names"),
    [
        (None, ("PET", "CT"), ("PET", "CT")),
        ([3, 1], ("a", "a", "a", "b"), ("a", "b")),
        ([1, 1], (), ("modality 1", "modality 2")),
        (None, (), ()),
    ],
)
def test_modalities_take_the_names_of_their_channels(
    modalities: list[int] | None, channels: tuple[str, ...], names: tuple[str, ...]
) -> None:
    assert modality_names({"modalities": modalities}, channels) == names


def test_one_modality_fuses_nothing_and_stands_at_both_inputs() -> None:
    inputs = cell_inputs(PETCT, ("CT",))
    assert inputs["normal"].boxes == ("CT stem", "CT stem")
    assert fusion_words(NORMAL, inputs["normal"], 2) == []


def test_inputs_are_named_in_the_graph_though_no_node_reads_them() -> None:
    graph = summing_graph({**NORMAL, "node1.inputs": "input1+input2"}, ("PET stem", "CT stem", "T1 stem"), 3)
    words = [node.words for node in graph.nodes]
    assert {"PET stem", "CT stem", "T1 stem", "sep 5³", "node 2 +", "output"} <= set(words)
    assert ("join", "output") in graph.edges


@pytest.mark.parametrize("modalities", [None, (1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_every_genotype_of_the_space_is_drawn_and_told(modalities: tuple[int, ...] | None, seed: int) -> None:
    space = FusionCellSpace(modalities=modalities, num_normal=2)
    genotype = describe(random_genotype(space.choices, np.random.default_rng(seed)), space.choices)
    figures = architecture_figures(genotype, space_settings(space), VOLUMES)
    assert [figure.name for figure in figures] == ["architecture_normal", "architecture_reduction"]
    assert "PET stem" in figures[0].body
    assert "first of 2 normal cells" in figures[0].reading
    assert "PET + CT stem" in figures[1].body
    told = fusion_in_words(genotype, space_settings(space), VOLUMES)
    assert [title for title, _ in told] == ["Normal cell", "Reduction cell"]
    drawn = set(part_choices(genotype, "normal").values()) | set(part_choices(genotype, "reduction").values())
    assert all(operation_words(name, 3) in figures[0].body + figures[1].body for name in drawn if "input" not in name)
    assert "concat" in architecture_legend(genotype, VOLUMES)


def test_operations_in_sentences_and_in_the_key() -> None:
    assert operation_of("average_pool_3", "CT") == "average pooling 3×3 of CT"
    assert operation_of("identity", "CT") == "CT unchanged"
    assert operation_words("conv_3", 3) == "conv 3³"
    assert legend(["conv_3", "identity"], 3) == {
        "conv k³": "convolution",
        "identity": "unchanged, as a skip connection",
    }
