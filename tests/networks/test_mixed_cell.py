from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from archimed.errors import GenotypeError, SettingsError
from archimed.networks.mixed_cell import MixedCell, cell_weights, edge_choices, recomputed_cells
from archimed.networks.operations import IDENTITY, ZERO
from archimed.networks.summing_cell import CellShape, stacked_cells
from archimed.seeding import torch_seed
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.protocol import Mixture
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("a", "b"), 1, (8, 9))
FUSION = [CellShape((8, 8), 8, False, False), *(CellShape((8, 8), 8 * 2**k, True, k > 1) for k in (1, 2, 3))]
SPACE = DartsCellSpace(num_cells=3, num_nodes=2, width=4, stem_stride=1)


def uniform(space: DartsCellSpace) -> Mixture:
    return {c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in space.mixed_choices}


def supernet(**arguments: int) -> nn.Module:
    with torch_seed(0):
        return SPACE.supernet(TASK, **arguments)  # type: ignore[arg-type]


def test_edges_are_named_node_by_node() -> None:
    names = [choice.name for choice in edge_choices("normal", 2, 2, ("zero",))]
    assert names == [
        f"normal.{edge}"
        for edge in ("node1.input1", "node1.input2", *(f"node2.{s}" for s in ("input1", "input2", "node1")))
    ]


def skips(channel_share: int) -> tuple[MixedCell, list[Tensor]]:
    shape = CellShape((4, 4), 4, reduces=False, bridges=False)
    cell = MixedCell(
        (ZERO, IDENTITY), shape, num_nodes=1, spatial_dims=2, normalisation="batch", channel_share=channel_share
    )
    cell.bring = nn.ModuleList([nn.Identity(), nn.Identity()])
    return cell, [torch.randn(2, 4, 3, 3) for _ in range(2)]


def test_a_channel_share_mixes_the_first_channels_and_shuffles() -> None:
    cell, (first, second) = skips(2)
    choices = edge_choices("normal", 2, 1, ("zero", "identity"))
    mixture = {choices[0].name: torch.tensor([0.0, 3.0]), choices[1].name: torch.tensor([1.0, 0.0])}
    result = cell([first, second], cell_weights(mixture, choices, torch.device("cpu"))["normal"])
    expected = torch.stack([3 * first[:, 0], first[:, 2], 3 * first[:, 1], first[:, 3]], dim=1)
    assert torch.allclose(result, expected)  # the second edge weighs nothing, so it carries nothing over either


def test_a_node_without_weight_is_zero() -> None:
    cell, inputs = skips(1)
    choices = edge_choices("normal", 2, 1, ("zero", "identity"))
    mixture = {choice.name: torch.tensor([1.0, 0.0]) for choice in choices}
    result = cell(inputs, cell_weights(mixture, choices, torch.device("cpu"))["normal"])
    assert torch.equal(result, torch.zeros(2, 4, 3, 3))


@pytest.mark.parametrize("share", [2, 4])
def test_partial_channels_train_and_take_fewer_weights(share: int) -> None:
    part, whole = supernet(channel_share=share), supernet()
    part(torch.randn(2, 1, 8, 9), uniform(SPACE)).sum().backward()
    assert all(weight.grad is not None for weight in part.parameters())
    assert sum(w.numel() for w in part.parameters()) < sum(w.numel() for w in whole.parameters()) / 2


def test_a_share_that_does_not_divide_or_inherit_is_refused() -> None:
    with pytest.raises(SettingsError, match="divides the width"):
        supernet(channel_share=3)
    genotype = (0,) * len(SPACE.choices)
    with pytest.raises(SettingsError, match="from scratch"):
        SPACE.inherit(supernet(channel_share=2), genotype, SPACE.build(genotype, TASK))


@pytest.mark.parametrize("wrong", [{}, {SPACE.mixed_choices[0].name: torch.ones(3)}], ids=["missing", "length"])
def test_a_mixture_of_another_form_is_refused(wrong: Mixture) -> None:
    mixture = {name: w for name, w in uniform(SPACE).items() if name != SPACE.mixed_choices[0].name}
    with pytest.raises(GenotypeError, match="one weight per option"):
        supernet()(torch.zeros(2, 1, 8, 9), {**mixture, **wrong})


def kept_bytes(network: nn.Module) -> int:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(torch.randn(8, 1, 8, 9), uniform(SPACE))
    return sum(kept.values())


def test_recomputation_keeps_little() -> None:
    assert kept_bytes(supernet(recompute=True)) < kept_bytes(supernet()) / 2


def test_the_strongest_operations_but_zero_are_derived() -> None:
    mixture = {name: weights.clone() for name, weights in uniform(SPACE).items()}
    mixture["normal.node2.node1"] = torch.tensor([0.9, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0])
    mixture["normal.node2.input2"] = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    genotype = SPACE.derive(mixture)
    chosen = {c.name: c.options[gene] for c, gene in zip(SPACE.choices, genotype, strict=True)}
    assert chosen["normal.node2.inputs"] == "input1+input2"  # .125 on input1 beats .1 on node1
    assert chosen["normal.node2.operation2"] == "separable_conv_5"


@pytest.mark.parametrize(
    ("shapes", "spatial_dims", "expected"),
    [(stacked_cells(8, 16, (4, 4)), 2, 3), (FUSION, 3, 1), (stacked_cells(1, 16, (4, 4)), 2, 1)],
    ids=["DARTS", "MM-NAS", "one cell"],
)
def test_the_cells_with_the_largest_features_are_computed_again(
    shapes: Sequence[CellShape], spatial_dims: int, expected: int
) -> None:
    assert recomputed_cells(shapes, spatial_dims) == expected
