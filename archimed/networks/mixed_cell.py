"""Cells and networks of mixed edges: nodes sum all options on all earlier states, by weights that are an input."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from archimed.errors import GenotypeError, SettingsError
from archimed.genotype import Choice
from archimed.networks.folded_operation import FoldedOperation
from archimed.networks.heads import PooledLinear
from archimed.networks.known_prefix import KnownPrefix
from archimed.networks.layers import Normalisation, relu_conv_norm, use_quick_forms, with_normalisation
from archimed.networks.mixed_operation import EdgeWeights, MixedOperation, RunningSum
from archimed.networks.operations import FactorisedReduction, Operation
from archimed.networks.pooling import pooling
from archimed.networks.stem import StemStride, stem
from archimed.networks.summing_cell import CellShape, SummingCellNetwork, stacked_cells

CellWeights = Sequence[Sequence[EdgeWeights]]  # for each node the edges from the states before it
CELLS = ("normal", "reduction")
SPARED = 0.45  # of a supernet's features that recomputation may keep; 8 cells of DARTS: 1.16 times the time, not 1.3


def edge_choices(cell: str, inputs: int, num_nodes: int, options: tuple[str, ...]) -> tuple[Choice, ...]:
    """What a cell type mixes: node after node, the edges from each state before it, `normal.node1.input1` first."""
    states = [*(f"input{k}" for k in range(1, inputs + 1)), *(f"node{k}" for k in range(1, num_nodes))]
    edges = ((node, state) for node in range(1, num_nodes + 1) for state in states[: inputs + node - 1])
    return tuple(Choice(f"{cell}.node{node}.{state}", options) for node, state in edges)


def read_mixture(
    mixture: Mapping[str, Tensor], choices: Sequence[Choice], device: torch.device
) -> dict[str, EdgeWeights]:
    """The weights of each choice, on the device; a mixture on a GPU is read back once, one on the host never.

    Raises:
        GenotypeError: the mixture does not hold one weight per option of each choice.
    """
    for choice in choices:
        shape = tuple(mixture[choice.name].shape) if choice.name in mixture else None
        if shape != (len(choice.options),):
            raise GenotypeError(
                f"A mixture holds one weight per option; {choice.name!r} has {len(choice.options)} options, the "
                f"mixture {'nothing' if shape is None else f'weights of shape {shape}'} for it. Fill every choice."
            )
    together = torch.cat([mixture[choice.name] for choice in choices])
    active = [weight != 0 for weight in together.detach().tolist()]
    values = together.to(device, non_blocking=True).unbind()
    weights = {}
    start = 0
    for choice in choices:
        stop = start + len(choice.options)
        weights[choice.name] = EdgeWeights(values[start:stop], active[start:stop])
        start = stop
    return weights


def by_cell(weights: Mapping[str, EdgeWeights]) -> dict[str, CellWeights]:
    """The weights of each cell type, by node, from those of choices named as `edge_choices` does."""
    cells: dict[str, dict[str, list[EdgeWeights]]] = {}
    for name, edge in weights.items():
        cell, node, _ = name.split(".")
        cells.setdefault(cell, {}).setdefault(node, []).append(edge)
    return {cell: tuple(nodes.values()) for cell, nodes in cells.items()}


def cell_weights(
    mixture: Mapping[str, Tensor], choices: Sequence[Choice], device: torch.device
) -> dict[str, CellWeights]:
    """The weights of each cell type, on the device (see `read_mixture`)."""
    return by_cell(read_mixture(mixture, choices, device))


class MixedCell(nn.Module):
    """A cell whose nodes read every earlier state through a mixed operation; all nodes leave it.

    With a channel share k > 1 only the first 1/k of a state's channels is mixed, the rest is carried over (halved by
    max-pooling where the edge is), and each node's channels are shuffled (PC-DARTS, Xu et al., 2020, without its edge
    normalisation).
    """

    def __init__(
        self,
        operations: Sequence[Operation],
        shape: CellShape,
        *,
        num_nodes: int,
        spatial_dims: int,
        normalisation: Normalisation,
        channel_share: int = 1,
    ) -> None:
        super().__init__()
        self.inputs, self.width, self.share = len(shape.in_channels), shape.width, channel_share
        self.num_nodes = num_nodes
        self.bring = nn.ModuleList(
            (FactorisedReduction if shape.bridges and position == 0 else relu_conv_norm)(
                channels, self.width, spatial_dims
            )
            for position, channels in enumerate(shape.in_channels)
        )
        with_normalisation(self.bring, normalisation, affine=False)
        self.step = 2 if shape.reduces else 1
        self.carry = pooling("max", 2, spatial_dims) if shape.reduces else nn.Identity()
        self.states = nn.ModuleList(
            MixedOperation(
                operations,
                self.width // channel_share,
                spatial_dims,
                stride=self.step if state < self.inputs else 1,
                readers=num_nodes - self._first_reader(state),
                normalisation=normalisation,
            )
            for state in range(self.inputs + num_nodes - 1)
        )

    def _first_reader(self, state: int) -> int:
        return max(0, state - self.inputs + 1)

    def option(self, node: int, state: int, name: str) -> nn.Module:
        """The module of an option on the edge from a state to a node, both counted from 0."""
        mixed: MixedOperation = self.states[state]  # type: ignore[assignment]
        return mixed.option(node - self._first_reader(state), name)

    def forward(
        self, inputs: Sequence[Float[Tensor, "batch ? *?"]], weights: CellWeights, *, recompute: bool = False
    ) -> Float[Tensor, "batch out *space"]:
        """The concatenated nodes; `recompute` computes mixed operations again in the backward pass."""
        run = again_later if recompute and torch.is_grad_enabled() else _at_once
        states = [bring(features) for bring, features in zip(self.bring, inputs, strict=True)]
        mixed, carried = ([RunningSum() for _ in range(self.num_nodes)] for _ in range(2))
        for state, operation in enumerate(self.states):
            first = self._first_reader(state)
            passed, rest = self._split(states[state], state)
            terms = run(operation, passed, [node[state] for node in weights[first:]])
            for node, term in enumerate(terms, start=first):
                if term is not None:
                    mixed[node].add(term)
                    if rest is not None:
                        carried[node].add(rest)
            if state >= self.inputs - 1:
                states.append(self._node(mixed[first].value, carried[first].value, states[0]))
        return torch.cat(states[self.inputs :], dim=1)

    def folded(self) -> "MixedCell":
        """The same cell in eval mode, quicker, as long as weights and statistics stay as they are; no gradients."""
        quick = copy(self)
        quick._modules = dict(self._modules)
        quick.states = nn.ModuleList(
            FoldedOperation(states, self.width // self.share)  # type: ignore[arg-type]
            for states in self.states
        )
        return quick

    def _split(self, features: Tensor, state: int) -> tuple[Tensor, Tensor | None]:
        if self.share == 1:
            return features, None
        part = self.width // self.share
        rest = features[:, part:]
        return features[:, :part], self.carry(rest) if state < self.inputs else rest

    def _node(self, mixed: Tensor | None, carried: Tensor | None, like: Tensor) -> Tensor:
        """A node whose edges all weigh nothing is zero."""
        if mixed is None:
            size = tuple(-(-length // self.step) for length in like.shape[2:])
            return like.new_zeros(len(like), self.width, *size)
        if carried is None:
            return mixed
        together = torch.cat([mixed, carried], dim=1)
        shuffled: Tensor = together.unflatten(1, (self.share, -1)).transpose(1, 2).flatten(1, 2)
        return shuffled


def recomputed_cells(shapes: Sequence[CellShape], spatial_dims: int) -> int:
    """How many cells, from the first, are worth computing twice.

    The last cells keep what is in them: their backward pass comes first and frees it, and small features take as long
    to compute as larger ones. As many are spared as together take no more than `SPARED` of all; a reduction cell takes
    about 1.5 times what its output's size tells.
    """
    pixels, sizes = 1.0, []
    for shape in shapes:
        pixels /= 2**spatial_dims if shape.reduces else 1
        sizes.append(shape.width * pixels * (1.5 if shape.reduces else 1))
    count = len(sizes)
    while count and sum(sizes[count - 1 :]) <= SPARED * sum(sizes):
        count -= 1
    return count


def _at_once(operation: nn.Module, features: Tensor, edges: Sequence[EdgeWeights]) -> list[Tensor | None]:
    sums: list[Tensor | None] = operation(features, edges)
    return sums


def again_later(part: nn.Module, *inputs: object) -> Any:
    """What the part gives; it is computed again in the backward pass instead of keeping what is in it."""
    return checkpoint(part, *inputs, use_reentrant=False, context_fn=partial(_contexts, part))


def _contexts(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _FrozenStatistics(part)


class _FrozenStatistics(AbstractContextManager[None]):
    """Batch normalisation uses its batch as before and leaves its running statistics alone.

    It can be entered again, as it is where a gradient is differentiated itself.
    """

    def __init__(self, part: nn.Module) -> None:
        self._norms = [layer for layer in part.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
        self._kept: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self._kept = [(norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, batches) in zip(self._norms, self._kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def check_channel_share(width: int, channel_share: int) -> None:
    """Raise SettingsError unless the share divides the channels of the first cells, and so of all."""
    if channel_share < 1 or width % channel_share:
        raise SettingsError(
            f"The channel share divides the width of the first cells; got share {channel_share} of width {width}. "
            "Choose a share of 1, 2 or 4, or a width that it divides."
        )


def refuse_shared_channels(supernet: nn.Module) -> None:
    """Raise SettingsError if the supernet mixes a share of its channels: its filters fit no network of the space."""
    if getattr(supernet, "channel_share", 1) > 1:
        raise SettingsError(
            f"Weights are inherited from supernets that mix all channels; this one mixes 1/{supernet.channel_share} "
            "of them. Train the derived network from scratch, or search with a channel share of 1."
        )


def channels_innermost(images: Tensor) -> Tensor:
    """The layout that the convolutions of a CPU are fastest in; on other devices what the caller chose."""
    if images.device.type != "cpu":
        return images
    return images.contiguous(memory_format=torch.channels_last if images.ndim == 4 else torch.channels_last_3d)


class MixedCellNetwork(nn.Module):
    """The supernet of `SummingCellNetwork`: the same stem, cells in the same places, the same head."""

    def __init__(
        self,
        operations: Sequence[Operation],
        *,
        num_cells: int,
        num_nodes: int,
        width: int,
        stem_stride: StemStride,
        channels: int,
        num_outputs: int,
        spatial_dims: int,
        normalisation: Normalisation,
        recompute: bool = False,
        channel_share: int = 1,
    ) -> None:
        super().__init__()
        check_channel_share(width, channel_share)
        self.channel_share = channel_share
        names = tuple(operation.name for operation in operations)
        self.choices = tuple(choice for cell in CELLS for choice in edge_choices(cell, 2, num_nodes, names))
        self.stem = with_normalisation(stem(channels, width, spatial_dims, stem_stride), normalisation, affine=False)
        shapes = stacked_cells(num_cells, width, (num_nodes, num_nodes))
        self.recomputed = recomputed_cells(shapes, spatial_dims) if recompute else 0
        self.kinds = tuple(CELLS[shape.reduces] for shape in shapes)
        self.cells = nn.ModuleList(
            MixedCell(
                operations,
                shape,
                num_nodes=num_nodes,
                spatial_dims=spatial_dims,
                normalisation=normalisation,
                channel_share=channel_share,
            )
            for shape in shapes
        )
        self.head = PooledLinear(num_nodes * shapes[-1].width, num_outputs, positive=normalisation == "instance")
        use_quick_forms(self)

    def forward(
        self, images: Float[Tensor, "batch channel *space"], mixture: Mapping[str, Float[Tensor, " option"]]
    ) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        weights = self.read(mixture, images.device)
        before = last = self.enter(images)
        for position, (kind, cell) in enumerate(zip(self.kinds, self.cells, strict=True)):
            again = position < self.recomputed
            before, last = last, cell((before, last), weights[kind], recompute=again)
        logits: Tensor = self.head(last)
        return logits

    def enter(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *smaller"]:
        """What the first cell reads."""
        features: Tensor = self.stem(channels_innermost(images))
        return features

    def read(self, mixture: Mapping[str, Float[Tensor, " option"]], device: torch.device) -> dict[str, CellWeights]:
        """The weights of each cell type."""
        return cell_weights(mixture, self.choices, device)

    def on(self, images: Float[Tensor, "batch channel *space"]) -> KnownPrefix:
        """The logits of these images as a function of the mixture alone, for many mixtures that differ little."""
        return KnownPrefix(self, images)

    def give_weights(self, network: SummingCellNetwork) -> None:
        """Copy the weights and statistics of one path into the network that has it."""
        copy_weights(self.stem, network.stem)
        copy_weights(self.head, network.head)
        for mixed, cell in zip(self.cells, network.cells, strict=True):
            copy_cell_weights(mixed, (cell.bring_before, cell.bring_last), cell.nodes)  # type: ignore[arg-type]


def copy_cell_weights(mixed: MixedCell, bring: Sequence[nn.Module], nodes: nn.ModuleList) -> None:
    """Copy the weights of one path through a mixed cell into the parts of a cell that has it."""
    for source, target in zip(mixed.bring, bring, strict=True):
        copy_weights(source, target)
    for position, node in enumerate(nodes):
        for name, state, operation in node.edges():  # type: ignore[operator]
            if any(True for _ in operation.state_dict()):
                copy_weights(mixed.option(position, state, name), operation)


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy weights and running statistics; what only the target has (scale and shift of its norms) stays."""
    given = source.state_dict()
    for name, value in target.state_dict().items():
        if name in given:
            value.copy_(given[name])
