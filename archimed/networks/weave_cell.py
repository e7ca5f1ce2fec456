"""The cells of U-shaped networks: nodes that sum operations on two inputs, one resampled, and on earlier nodes.

States count from 0: the input of the cell's own size, which may be missing, the input that is resampled, then nodes.
"""

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.layers import relu_conv_norm, with_normalisation
from archimed.networks.mixed_cell import copy_weights
from archimed.networks.operations import Operation
from archimed.networks.summing_cell import Edge, NodeSum
from archimed.networks.weave_mixture import MixedState, StateWeights

Size = tuple[int, ...]
LEVEL, INPUTS = 0, 2  # the first state, and how many are inputs


class WovenCell(nn.Module):
    """A cell of a derived network; all nodes leave it."""

    def __init__(
        self,
        nodes: Sequence[Sequence[Edge]],
        in_channels: tuple[int | None, int],
        width: int,
        spatial_dims: int,
        group_size: int,
    ) -> None:
        """`in_channels` of the two inputs; where the first is None, its edges are left out."""
        super().__init__()
        self.bring = _bring(in_channels, width, spatial_dims, group_size, affine=True)
        kept = ([edge for edge in node if edge[1] != LEVEL or in_channels[LEVEL] is not None] for node in nodes)
        self.nodes = nn.ModuleList(NodeSum(node, width, spatial_dims, reduces=False) for node in kept)
        with_normalisation(self.nodes, group_size, affine=True)

    def forward(
        self, inputs: tuple[Float[Tensor, "batch ? *?"] | None, Float[Tensor, "batch ? *?"]], size: Size
    ) -> Float[Tensor, "batch out *space"]:
        """The concatenated nodes, of `size` pixels."""
        states = _brought(self.bring, inputs)
        for node in self.nodes:
            terms = (_cropped(step(states[source]), size) for _, source, step in node.edges())  # type: ignore[operator]
            states.append(reduce(add, terms))
        return torch.cat(states[INPUTS:], dim=1)  # type: ignore[arg-type]  # only the first may be missing


class MixedWovenCell(nn.Module):
    """A cell of the supernet: every node reads every earlier state through a mixed operation."""

    def __init__(
        self,
        tables: Sequence[Sequence[Operation]],
        in_channels: tuple[int | None, int],
        width: int,
        num_nodes: int,
        spatial_dims: int,
        group_size: int,
    ) -> None:
        """`tables` are the operations on each state; else as `WovenCell`."""
        super().__init__()
        self.width, self.num_nodes = width, num_nodes
        self.bring = _bring(in_channels, width, spatial_dims, group_size, affine=False)
        self.states = nn.ModuleDict(
            {
                str(state): MixedState(tables[state], width, spatial_dims, num_nodes - first_reader(state), group_size)
                for state in range(INPUTS + num_nodes - 1)
                if state != LEVEL or in_channels[LEVEL] is not None
            }
        )

    def forward(
        self,
        inputs: tuple[Float[Tensor, "batch ? *?"] | None, Float[Tensor, "batch ? *?"]],
        weights: Sequence[StateWeights],
        size: Size,
    ) -> Float[Tensor, "batch out *space"]:
        """The concatenated nodes, of `size` pixels, by the weights on each state; those without any are zero."""
        states = _brought(self.bring, inputs)
        nodes: list[Tensor] = []
        later: Tensor | None = None  # the sums of the nodes that come, [batch, *space, node, channel]
        for state in range(INPUTS + self.num_nodes):
            if state >= INPUTS:
                nodes.append(_first_node(later, inputs[1], self.width, size))
                states.append(nodes[-1])
                later = None if later is None else later[..., 1:, :]
            features = states[state]
            if features is None or len(nodes) == self.num_nodes:
                continue
            term = self.states[str(state)](features, weights[state])
            if term is not None:
                term = term[(slice(None), *map(slice, size))]
                later = term if later is None else later + term
        return torch.cat(nodes, dim=1)

    def give_weights(self, cell: WovenCell) -> None:
        """Copy the weights of one path into the cell that has it."""
        copy_weights(self.bring, cell.bring)
        for position, node in enumerate(cell.nodes):
            for name, source, operation in node.edges():  # type: ignore[operator]
                if any(True for _ in operation.state_dict()):
                    mixed: MixedState = self.states[str(source)]  # type: ignore[assignment]
                    given = mixed.weights_of(position - first_reader(source), name)
                    for path, value in operation.state_dict().items():
                        if path in given:
                            value.copy_(given[path])


def _bring(
    in_channels: tuple[int | None, int], width: int, spatial_dims: int, group_size: int, *, affine: bool
) -> nn.ModuleDict:
    """What brings each input that is there to the width of the cell."""
    bring = {
        str(state): relu_conv_norm(channels, width, spatial_dims)
        for state, channels in enumerate(in_channels)
        if channels is not None
    }
    modules: nn.ModuleDict = with_normalisation(nn.ModuleDict(bring), group_size, affine)  # type: ignore[assignment]
    return modules


def _brought(bring: nn.ModuleDict, inputs: tuple[Tensor | None, Tensor]) -> list[Tensor | None]:
    return [None if features is None else bring[str(state)](features) for state, features in enumerate(inputs)]


def first_reader(state: int) -> int:
    """The first node, counted from 0, that reads a state."""
    return max(0, state - INPUTS + 1)


def _cropped(features: Tensor, size: Size) -> Tensor:
    """The first pixels: what doubled a map may be one pixel longer than the map that was halved."""
    if tuple(features.shape[2:]) == size:
        return features
    return features[(slice(None), slice(None), *map(slice, size))]


def _first_node(sums: Tensor | None, like: Tensor, width: int, size: Size) -> Tensor:
    """The first of the sums [batch, *space, node, channel], channels innermost; zeros if there are none."""
    if sums is None:
        return like.new_zeros(len(like), width, *size)
    return sums[..., 0, :].contiguous().movedim(-1, 1)
