"""The space of MixSearch (Liu et al.): a weaved U-shape whose cells, and the paths between them, are searched."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
from archimed.networks.operations import ZERO
from archimed.networks.weave_lattice import Inputs, Lattice, Place, plain_u, weave
from archimed.networks.weave_network import TYPE, MixedWeavedUnet, Tables, WeavedUnet, WeaveLayout, weave_choices
from archimed.networks.weave_operations import TABLES, Resampling
from archimed.spaces.kind_cells import KindCells
from archimed.spaces.protocol import Mixture, require_masks
from archimed.task import ImagingTask

DownOption = Literal["average_pool", "max_pool", "conv", "atrous_conv", "separable_conv", "attention_conv"]
NormalOption = Literal[
    "zero", "identity", "attention_identity", "conv", "atrous_conv", "separable_conv", "shuffle_conv"
]
UpOption = Literal[
    "transposed_conv", "atrous_transposed_conv", "separable_transposed_conv", "attention_transposed_conv"
]
DOWN: tuple[DownOption, ...] = DownOption.__args__  # type: ignore[attr-defined]
NORMAL: tuple[NormalOption, ...] = NormalOption.__args__  # type: ignore[attr-defined]
UP: tuple[UpOption, ...] = UpOption.__args__  # type: ignore[attr-defined]


class Path(NamedTuple):
    """One cell of a derived network: where it stands, its kind, what it reads, and its share of the map there."""

    place: Place
    kind: Resampling
    inputs: Inputs
    weight: float


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WeavedUnetSpace:
    """Cells on the lattice of X[d,l], d + l even: down, normal and up cells meet at a place, by weights (Eq. 7).

    The paper's outputs X[0,5], X[0,7] and X[0,9] are X[1,5], X[1,7] and X[1,9], brought to the image's size; all count
    in training, and `exit` ends the network at an earlier one. Row d = 1, at half the image's
    size, has `width` channels a node, each row below twice as many. Cells of a kind share one architecture. Where a
    transposed convolution would give one pixel less than the map it meets, it is padded by one; no map is interpolated.

    The paper leaves open what becomes of the weights of the kinds. Its networks keep several at most places (Table IV),
    and its released code keeps all, without their weights. Here a place keeps the kinds that weigh at least `keep`
    times its strongest and takes the mean of their cells; cells that then reach no output are not built.
    """

    layout: Literal["weaved", "plain"] = Field(
        default="weaved", description="weaved, or the plain U of NAS-Unet, of `depth` alone (MixSearch, Fig. 4)"
    )
    depth: int = Field(default=5, ge=3, description="rows with the image's own (MixSearch: 5, then 6)")
    layers: int = Field(
        default=8, validate_default=True, description="columns, two for the stem (MixSearch: 8, then 10)"
    )
    num_nodes: int = Field(default=4, ge=1, le=6, description="nodes of a cell (MixSearch)")
    width: int = Field(
        default=16, ge=2, multiple_of=2, description="channels of a node at half the image's size (released code)"
    )
    down_options: tuple[DownOption, ...] = Field(
        default=DOWN, min_length=1, description="operations that halve the size (MixSearch, Table I)"
    )
    normal_options: tuple[NormalOption, ...] = Field(
        default=NORMAL, min_length=1, description="operations that keep the size, and zero (MixSearch, Table I)"
    )
    up_options: tuple[UpOption, ...] = Field(
        default=UP, min_length=1, description="operations that double the size (MixSearch, Table I)"
    )
    keep: float = Field(
        default=0.5, gt=0, le=1, description="least weight of a kind of cell that stays, in the strongest's (ours)"
    )
    details: bool = Field(
        default=True,
        description="outputs join their map, of half the image's size, with the stem's at its own size by two 3x3 "
        "convolutions, so that what is a pixel wide is seen (ours; MixSearch: a 1x1 convolution, enlarged)",
    )
    group_size: int = Field(
        default=1,
        ge=1,
        description="channels that group normalisation takes together at most; 1 is instance normalisation, with which "
        "networks learn far faster (ours; MixSearch's released code: 16)",
    )
    exit: int | None = Field(
        default=None, description="layer of the output to end at, e.g. 7 of X[1,7]; none: the last"
    )

    @field_validator("layers")
    @classmethod
    def _enough_layers(cls, layers: int, info: ValidationInfo) -> int:
        needed = 2 * info.data.get("depth", 3) - 2
        if layers < needed and info.data.get("layout") == "weaved":
            raise ValueError(f"a weave {info.data['depth']} deep needs {needed} layers to come up again")
        return layers

    @field_validator("down_options", "normal_options", "up_options")
    @classmethod
    def _different(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(options)) < len(options) or set(options) == {ZERO.name}:
            raise ValueError("options are all different, and one is more than zero")
        return options

    @property
    def lattice(self) -> Lattice:
        """Where cells stand, whatever the genotype.

        Raises:
            SettingsError: the exit is none of the outputs.
        """
        lattice = weave(self.depth, self.layers) if self.layout == "weaved" else plain_u(self.depth)
        layers = [place.layer for place in lattice.exits]
        if self.exit is None:
            return lattice
        if self.exit not in layers:
            raise SettingsError(
                f"space.exit names the layer of an output, here {', '.join(map(str, layers))}; got {self.exit}. "
                "Choose one of them, or leave it out for the last."
            )
        return lattice.until(self.exit)

    @property
    def tables(self) -> Tables:
        """The operations on edges, by what they do to the size."""
        named = {kind: {operation.name: operation for operation in table} for kind, table in TABLES.items()}
        chosen: dict[Resampling, tuple[str, ...]] = {
            "down": self.down_options,
            "normal": self.normal_options,
            "up": self.up_options,
        }
        return {kind: tuple(named[kind][name] for name in names) for kind, names in chosen.items()}

    @property
    def _cells(self) -> KindCells:
        return KindCells(self.num_nodes, self.lattice.kinds, self.tables)

    @property
    def _kind_choices(self) -> dict[Place, Choice]:
        return {
            place: Choice(f"{TYPE}.{place.key}", tuple("+".join(kept) for kept in _subsets(tuple(kinds))))
            for place, kinds in self.lattice.cells.items()
            if len(kinds) > 1
        }

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Each kind of cell, then the kinds that each place keeps, where it has several."""
        return (*self._cells.choices, *self._kind_choices.values())

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        """The edges of each kind of cell, then the kinds of cell at each place that has several."""
        return weave_choices(self.lattice, self.tables, self.num_nodes)

    def _split(self, genotype: Genotype) -> tuple[Genotype, Lattice]:
        """The genes of the cells, and the places and kinds that the genotype keeps and that reach an output."""
        check_genotype(genotype, self.choices)
        cells, lattice = self._cells, self.lattice
        count = len(cells.choices)
        kept = {place: tuple(kinds) for place, kinds in lattice.cells.items()}
        for place, gene in zip(self._kind_choices, genotype[count:], strict=True):
            kept[place] = _subsets(kept[place])[gene]
        return genotype[:count], lattice.needed(lattice.exits, kept)

    def build(self, genotype: Genotype, task: ImagingTask) -> WeavedUnet:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for labels.
        """
        genes, lattice = self._split(genotype)
        return WeavedUnet(self._layout((task,), lattice), self._cells.plans(genes))

    def paths(self, genotype: Genotype, mixture: Mixture | None = None) -> tuple[Path, ...]:
        """The cells of a genotype's network, in the order they are computed.

        With the mixture that it was derived from, weights are those of the kinds before the others were left out;
        without, those in the network.
        """
        _, lattice = self._split(genotype)
        found = []
        for place, kinds in lattice.cells.items():
            every = tuple(self.lattice.cells[place])
            known = None if mixture is None else mixture.get(f"{TYPE}.{place.key}")
            for kind, inputs in kinds.items():
                weight = 1 / len(kinds) if known is None else float(known[every.index(kind)])
                found.append(Path(place, kind, inputs, weight))
        return tuple(found)

    def canonical(self, genotype: Genotype) -> Genotype:
        """One form of all genotypes that build the same network: unused genes are the first, nodes in one order."""
        genes, lattice = self._split(genotype)
        kinds = (
            0 if place not in lattice.cells else gene
            for place, gene in zip(self._kind_choices, genotype[len(genes) :], strict=True)
        )
        return (*self._cells.canonical(genes, lattice.kinds), *kinds)

    def supernet(
        self,
        task: ImagingTask,
        *,
        recompute: bool = False,
        channel_share: int = 1,
        tasks: tuple[ImagingTask, ...] = (),
    ) -> MixedWeavedUnet:
        """All networks of the space in one (see `RelaxableSpace.supernet`); in training it gives all exits' logits.

        Args:
            task: as in `build`.
            recompute: compute each cell again in the backward pass instead of keeping what is in it.
            channel_share: 1; this space mixes all channels.
            tasks: of further data sets, each with a head of its own: `forward(images, mixture, dataset)`.
        """
        if channel_share != 1:
            raise SettingsError(
                f"The weaved space mixes all channels of a state; got a channel share of {channel_share}. "
                "Leave it at 1, or make space.width smaller."
            )
        return MixedWeavedUnet(self._layout((task, *tasks), self.lattice), self.tables, recompute=recompute)

    def derive(self, mixture: Mixture) -> Genotype:
        """Per node the two strongest edges, each with its strongest operation; per place the kinds that stay."""
        genes = list(self._cells.derive(mixture))
        for place, choice in self._kind_choices.items():
            weights = mixture[choice.name].tolist()
            least = self.keep * max(weights)
            kinds = self.lattice.cells[place]
            kept = tuple(kind for kind, weight in zip(kinds, weights, strict=True) if weight >= least and weight > 0)
            genes.append(_subsets(tuple(kinds)).index(kept or tuple(kinds)))
        return tuple(genes)

    def one_hot(self, genotype: Genotype) -> Mixture:
        """All weight on the operations of the genotype, evenly on the kinds of cell that it keeps."""
        check_genotype(genotype, self.choices)
        cells = self._cells
        count = len(cells.choices)
        mixture = dict(cells.one_hot(genotype[:count]))
        for (place, choice), gene in zip(self._kind_choices.items(), genotype[count:], strict=True):
            kinds = tuple(self.lattice.cells[place])
            kept = _subsets(kinds)[gene]
            mixture[choice.name] = torch.tensor([(kind in kept) / len(kept) for kind in kinds])
        return mixture

    def inherit(self, supernet: nn.Module, genotype: Genotype, network: nn.Module) -> None:
        """Copy the supernet's weights along a path (see `RelaxableSpace.inherit`)."""
        check_genotype(genotype, self.choices)
        supernet.give_weights(network)  # type: ignore[operator]

    def prune(self, mixture: Mixture) -> "WeavedUnetSpace":
        """The space with the stronger half of each table's options, rounded up (Algorithm 1, lines 18 to 20).

        An option is as strong as its mean weight over the edges of all cells that its table serves; the first wins
        among equals. One that computes something always stays.
        """
        strengths = self._cells.strengths(mixture)
        kept = {f"{kind}_options": _stronger_half(options) for kind, options in strengths.items()}
        return replace(self, **kept)  # type: ignore[arg-type]

    def deepened(self, mixture: Mixture, depth: int, layers: int) -> "WeavedUnetSpace":
        """The pruned space of another depth and other layers: that of the search's second stage."""
        return replace(self.prune(mixture), depth=depth, layers=layers)

    def _layout(self, tasks: tuple[ImagingTask, ...], lattice: Lattice) -> WeaveLayout:
        for task in tasks:
            require_masks(task, "weaved")
            check_spatial_dims(task.spatial_dims)
            if (task.spatial_dims, task.channels) != (tasks[0].spatial_dims, tasks[0].channels):
                raise SettingsError(
                    f"Data sets searched together have as many axes and channels; got {tasks[0].spatial_dims} axes "
                    f"with {tasks[0].channels} channels and {task.spatial_dims} with {task.channels}. Bring them to "
                    "one form, or search each by itself."
                )
        return WeaveLayout(
            lattice=lattice,
            width=self.width,
            num_nodes=self.num_nodes,
            channels=tasks[0].channels,
            outputs=tuple(task.num_outputs for task in tasks),
            spatial_dims=tasks[0].spatial_dims,
            details=self.details,
            group_size=self.group_size,
        )


def _subsets(kinds: tuple[Resampling, ...]) -> tuple[tuple[Resampling, ...], ...]:
    """All that a place may keep, all kinds first."""
    return tuple(kept for count in range(len(kinds), 0, -1) for kept in combinations(kinds, count))


def _stronger_half(options: Mapping[str, float]) -> tuple[str, ...]:
    order = sorted(options, key=lambda name: -options[name])
    count = -(-len(order) // 2)
    kept = set(order[:count])
    if kept == {ZERO.name}:
        kept = {order[count]}
    return tuple(name for name in options if name in kept)
