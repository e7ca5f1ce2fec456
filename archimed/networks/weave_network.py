"""U-shaped networks of cells on a lattice, for masks: one genotype's network, and the supernet of all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from archimed.genotype import Choice
from archimed.networks.layers import batch_norm, convolution, relu_conv_norm, use_quick_forms, with_normalisation
from archimed.networks.mixed_cell import (
    CellWeights,
    again_later,
    by_cell,
    channels_innermost,
    copy_weights,
    edge_choices,
    read_mixture,
)
from archimed.networks.mixed_operation import RunningSum
from archimed.networks.operations import Operation
from archimed.networks.summing_cell import Edge
from archimed.networks.weave_cell import INPUTS, MixedWovenCell, Size, WovenCell, first_reader
from archimed.networks.weave_lattice import STEM, Inputs, Lattice, Place
from archimed.networks.weave_mixture import StateWeights, state_weights
from archimed.networks.weave_operations import Resampling

Tables = Mapping[Resampling, Sequence[Operation]]  # what resamples down, keeps the size, resamples up
Maps = dict[Place, Tensor]
Outputs = Tensor | tuple[Tensor, ...]
CHANNELS_A_CLASS = 4
TYPE = "type"  # first part of the names of what weighs the kinds of cell at a place


@dataclass(frozen=True)
class WeaveLayout:
    """What does not depend on the cells' graphs.

    Attributes:
        lattice: where cells stand.
        width: channels of a node in the row at half the image's size; each row below has twice as many.
        num_nodes: nodes of a cell, all of which leave it.
        channels: of the image.
        outputs: classes, for each data set that has a head of its own.
        spatial_dims: 2 or 3.
        details: whether heads read the stem's map at the image's own size too.
        group_size: channels that group normalisation takes together at most.
    """

    lattice: Lattice
    width: int
    num_nodes: int
    channels: int
    outputs: tuple[int, ...]
    spatial_dims: int
    details: bool
    group_size: int

    def cell_width(self, place: Place) -> int:
        """Channels of a node there."""
        return self.width << (place.depth - 1)

    def in_channels(self, inputs: Inputs) -> tuple[int | None, int]:
        """Channels of the maps that a cell reads; the stem's are those of a cell there."""
        level = None if inputs.level is None else self.num_nodes * self.cell_width(inputs.level)
        return level, self.num_nodes * self.cell_width(inputs.resampled)


def table(tables: Tables, kind: Resampling, edge: str) -> Sequence[Operation]:
    """The operations on an edge of a cell: its kind's on the input that is resampled, else those that keep the size."""
    return tables[kind if edge.endswith(".input2") else "normal"]


def weave_choices(lattice: Lattice, tables: Tables, num_nodes: int) -> tuple[Choice, ...]:
    """What the supernet mixes: the edges of each kind of cell, then the kinds at each place that has several."""
    edges = (
        Choice(edge.name, tuple(operation.name for operation in table(tables, kind, edge.name)))
        for kind in lattice.kinds
        for edge in edge_choices(kind, INPUTS, num_nodes, ())
    )
    kinds = (Choice(f"{TYPE}.{place.key}", tuple(cells)) for place, cells in lattice.cells.items() if len(cells) > 1)
    return (*edges, *kinds)


class _Weave(nn.Module):
    """Stem and heads, and the walk from one to the other."""

    def __init__(self, layout: WeaveLayout) -> None:
        super().__init__()
        self.lattice = layout.lattice
        self.final = _only_final(layout.lattice)
        dims, leaving = layout.spatial_dims, layout.num_nodes * layout.width
        self.stem = nn.Sequential(
            convolution(layout.channels, leaving // 2, dims, 3),
            batch_norm(leaving // 2, dims),
            nn.ReLU(),
            convolution(leaving // 2, leaving, dims, 3, stride=2),
            batch_norm(leaving, dims),
        )
        self.heads = nn.ModuleList(
            nn.ModuleDict(
                {
                    f"l{place.layer}": (DetailedHead if layout.details else PlainHead)(leaving, classes, dims)
                    for place in layout.lattice.exits
                }
            )
            for classes in layout.outputs
        )

    def _walk(self, images: Tensor, lattice: Lattice, dataset: int, compute: Callable[..., Tensor]) -> list[Tensor]:
        """The logits of each exit; `compute(place, kinds, maps, size)` gives the map of a place."""
        sizes = [tuple(images.shape[2:])]
        while len(sizes) <= max(place.depth for place in lattice.cells):
            sizes.append(tuple(-(-length // 2) for length in sizes[-1]))
        details = self.stem[:3](images)
        maps = {STEM: self.stem[3:](details)}
        for place, kinds in lattice.cells.items():
            maps[place] = compute(place, kinds, maps, sizes[place.depth])
        heads: nn.ModuleDict = self.heads[dataset]  # type: ignore[assignment]
        return [heads[f"l{place.layer}"](maps[place], details) for place in lattice.exits]


class PlainHead(nn.Module):
    """A 1x1 convolution, its logits brought to the image's size (MixSearch)."""

    def __init__(self, channels: int, classes: int, spatial_dims: int) -> None:
        super().__init__()
        self.logits = pointwise(channels, classes, spatial_dims)

    def forward(
        self, features: Float[Tensor, "batch channel *half"], details: Float[Tensor, "batch detail *space"]
    ) -> Float[Tensor, "batch class *space"]:
        """Logits; of the details the size counts."""
        return resized(self.logits(features), details)


class DetailedHead(nn.Module):
    """Features brought to the image's size and added to the stem's map of that size, two 3x3 convolutions, logits.

    What is one pixel wide, a vessel in a small image, is gone from maps of half the size. The logits of a class read at
    least `CHANNELS_A_CLASS` channels: they have passed a ReLU, and a class whose few weights on them all turn negative
    is never answered again.
    """

    def __init__(self, channels: int, classes: int, spatial_dims: int) -> None:
        super().__init__()
        detail = channels // 2  # channels of the stem's first map
        read = max(detail, CHANNELS_A_CLASS * classes)
        self.bring = convolution(channels, detail, spatial_dims, 1)
        self.join = nn.Sequential(
            *relu_conv_norm(detail, read, spatial_dims, 3), *relu_conv_norm(read, read, spatial_dims, 3)
        )
        self.logits = pointwise(read, classes, spatial_dims)

    def forward(
        self, features: Float[Tensor, "batch channel *half"], details: Float[Tensor, "batch detail *space"]
    ) -> Float[Tensor, "batch class *space"]:
        """Logits."""
        logits: Tensor = self.logits(relu(self.join(resized(self.bring(features), details) + details)))
        return logits


def pointwise(channels: int, classes: int, spatial_dims: int) -> nn.Module:
    """A 1x1 convolution with bias."""
    return (nn.Conv2d if spatial_dims == 2 else nn.Conv3d)(channels, classes, 1)


def resized(features: Float[Tensor, "batch channel *half"], like: Float[Tensor, "batch _ *space"]) -> Tensor:
    """Features interpolated linearly to the size of others."""
    mode = "bilinear" if features.ndim == 4 else "trilinear"
    return interpolate(features, like.shape[2:], mode=mode, align_corners=False)


def _only_final(lattice: Lattice) -> Lattice:
    return lattice.needed(lattice.exits[-1:], lattice.cells)


def _cell_name(place: Place) -> str:
    return place.key.replace(".", "")


class WeavedUnet(_Weave):
    """The network of one genotype; a map is the mean of the cells that its place keeps.

    In training it gives the logits of all exits, the final one last, if it has several; otherwise the final ones.
    """

    def __init__(self, layout: WeaveLayout, nodes: Mapping[Resampling, Sequence[Sequence[Edge]]]) -> None:
        """`nodes` of each kind of cell: the edges that each node sums."""
        super().__init__(layout)
        dims = layout.spatial_dims
        self.cells = nn.ModuleDict(
            {
                _cell_name(place): nn.ModuleDict(
                    {
                        kind: WovenCell(
                            nodes[kind],
                            layout.in_channels(inputs),
                            layout.cell_width(place),
                            dims,
                            layout.group_size,
                        )
                        for kind, inputs in kinds.items()
                    }
                )
                for place, kinds in layout.lattice.cells.items()
            }
        )
        with_normalisation(self.stem, layout.group_size, affine=True)
        with_normalisation(self.heads, layout.group_size, affine=True)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Outputs:
        """Logits [batch, class, *space]."""
        if self.training and len(self.lattice.exits) > 1:
            return self.exits(images)
        return self._walk(images, self.final, 0, self._map)[-1]

    def exits(self, images: Float[Tensor, "batch channel *space"]) -> tuple[Float[Tensor, "batch class *space"], ...]:
        """The logits of every exit, earliest first."""
        return tuple(self._walk(images, self.lattice, 0, self._map))

    def _map(self, place: Place, kinds: Mapping[Resampling, Inputs], maps: Maps, size: Size) -> Tensor:
        cells: nn.ModuleDict = self.cells[_cell_name(place)]  # type: ignore[assignment]
        terms = [cells[kind](_read(inputs, maps), size) for kind, inputs in kinds.items()]
        total: Tensor = reduce(add, terms)
        return total / len(terms) if len(terms) > 1 else total


def _read(inputs: Inputs, maps: Maps) -> tuple[Tensor | None, Tensor]:
    return None if inputs.level is None else maps[inputs.level], maps[inputs.resampled]


class MixedWeavedUnet(_Weave):
    """The supernet; places and kinds of cell that weigh nothing, or that no exit depends on, are not computed.

    As `WeavedUnet`, it gives the logits of all exits in training.
    """

    def __init__(self, layout: WeaveLayout, tables: Tables, *, recompute: bool = False) -> None:
        super().__init__(layout)
        self.recompute = recompute
        self.choices = weave_choices(layout.lattice, tables, layout.num_nodes)
        last = layout.num_nodes - 1  # the last node reads every state
        names = [edge.name for edge in edge_choices("", INPUTS, layout.num_nodes, ())][-INPUTS - last :]
        self.cells = nn.ModuleDict(
            {
                _cell_name(place): nn.ModuleDict(
                    {
                        kind: MixedWovenCell(
                            [table(tables, kind, name) for name in names],
                            layout.in_channels(inputs),
                            layout.cell_width(place),
                            layout.num_nodes,
                            layout.spatial_dims,
                            layout.group_size,
                        )
                        for kind, inputs in kinds.items()
                    }
                )
                for place, kinds in layout.lattice.cells.items()
            }
        )
        with_normalisation(self.stem, layout.group_size, affine=False)
        with_normalisation(self.heads, layout.group_size, affine=False)
        use_quick_forms(self)

    def forward(
        self,
        images: Float[Tensor, "batch channel *space"],
        mixture: Mapping[str, Float[Tensor, " option"]],
        dataset: int = 0,
    ) -> Outputs:
        """Logits [batch, class, *space] by the head of a data set."""
        logits = self._mixed(images, mixture, dataset, self.lattice if self.training else self.final)
        return logits if len(logits) > 1 else logits[0]

    def exits(
        self,
        images: Float[Tensor, "batch channel *space"],
        mixture: Mapping[str, Float[Tensor, " option"]],
        dataset: int = 0,
    ) -> tuple[Float[Tensor, "batch class *space"], ...]:
        """The logits of every exit, earliest first."""
        return self._mixed(images, mixture, dataset, self.lattice)

    def _mixed(
        self, images: Tensor, mixture: Mapping[str, Tensor], dataset: int, lattice: Lattice
    ) -> tuple[Tensor, ...]:
        weights = read_mixture(mixture, self.choices, images.device)
        edges = by_cell({name: edge for name, edge in weights.items() if not name.startswith(TYPE)})
        states = {kind: self._by_state(kind, nodes) for kind, nodes in edges.items()}
        shares: dict[Place, dict[Resampling, Tensor]] = {}
        kept: dict[Place, list[Resampling]] = {place: list(kinds) for place, kinds in lattice.cells.items()}
        for place, kinds in self.lattice.cells.items():
            if (found := weights.get(f"{TYPE}.{place.key}")) is not None:
                shares[place] = dict(zip(kinds, found.values, strict=True))
                kept[place] = [kind for kind, active in zip(kinds, found.active, strict=True) if active]

        def compute(place: Place, kinds: Mapping[Resampling, Inputs], maps: Maps, size: Size) -> Tensor:
            cells: nn.ModuleDict = self.cells[_cell_name(place)]  # type: ignore[assignment]
            run = again_later if self.recompute and torch.is_grad_enabled() else _at_once
            total = RunningSum()
            for kind, inputs in kinds.items():
                term = run(cells[kind], _read(inputs, maps), states[kind], size)
                total.add(term, shares[place][kind] if place in shares else None)
            if total.value is not None:
                return total.value
            channels = maps[STEM].shape[1] << (place.depth - 1)
            return images.new_zeros(len(images), channels, *size)

        return tuple(self._walk(channels_innermost(images), lattice.needed(lattice.exits, kept), dataset, compute))

    def _by_state(self, kind: str, nodes: CellWeights) -> list[StateWeights]:
        """The weights of a kind of cell by the state that edges leave; the last node reads every state."""
        names = [choice.options for choice in self.choices if choice.name.startswith(f"{kind}.")][-len(nodes[-1]) :]
        return [
            state_weights(options, [node[state] for node in nodes[first_reader(state) :]])
            for state, options in enumerate(names)
        ]

    @torch.no_grad()
    def give_weights(self, network: WeavedUnet) -> None:
        """Copy the weights of one path into the network that has it, with the head of the first data set."""
        copy_weights(self.stem, network.stem)
        copy_weights(self.heads[0], network.heads[0])
        for name, kinds in network.cells.items():
            for kind, cell in kinds.items():  # type: ignore[operator]
                mixed: MixedWovenCell = self.cells[name][kind]  # type: ignore[index]
                mixed.give_weights(cell)


def _at_once(cell: nn.Module, *inputs: object) -> Tensor:
    result: Tensor = cell(*inputs)
    return result
