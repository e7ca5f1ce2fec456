"""Networks that fuse modalities as they go (MM-NAS): a stem for each, one for their sum, cells, two convolutions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.heads import PooledLinear, means_and_peaks
from archimed.networks.layers import (
    Normalisation,
    convolution,
    relu_conv_norm,
    use_quick_forms,
    with_normalisation,
)
from archimed.networks.mixed_cell import (
    CELLS,
    MixedCell,
    cell_weights,
    channels_innermost,
    check_channel_share,
    copy_cell_weights,
    copy_weights,
    edge_choices,
    recomputed_cells,
)
from archimed.networks.operations import FactorisedReduction, Operation
from archimed.networks.regions import RegionNumbers
from archimed.networks.stem import StemForm, StemStride, stem
from archimed.networks.summing_cell import CellPlan, CellShape, NodeSum

HeadReads = Literal["last", "stages"]
RunCell = Callable[[int, str, nn.Module, Sequence[Tensor]], Tensor]  # (position, cell type, cell, inputs)


@dataclass(frozen=True)
class FusionLayout:
    """What does not depend on the cells' graphs.

    Attributes:
        modalities: channels of each, in the order of the image's channels.
        num_nodes: nodes of a cell, all of which leave it.
        num_normal: normal cells, which keep the size.
        num_reduction: reduction cells, each of which halves the size and doubles the width.
        width: channels of a stem and of a node in the normal cells.
        head: channels of the two last convolutions.
        stem_stride: pixels per step of the stems.
        stem_form: how they take that step.
        num_outputs: logits.
        spatial_dims: 2 or 3.
        normalisation: of the whole network.
        head_reads: only the last convolution; or also the stages that come early: each modality's first convolution and
            the cells that fuse them, and what a region tells by itself where there is one.
        region: whether a region is the last channel of the images, after those of the modalities.
    """

    modalities: tuple[int, ...]
    num_nodes: int
    num_normal: int
    num_reduction: int
    width: int
    head: int
    stem_stride: StemStride
    stem_form: StemForm
    num_outputs: int
    spatial_dims: int
    normalisation: Normalisation
    head_reads: HeadReads
    region: bool = False

    @property
    def inputs(self) -> tuple[int, int]:
        """Inputs of a normal and of a reduction cell."""
        return max(2, len(self.modalities)), 2

    @property
    def shapes(self) -> tuple[CellShape, ...]:
        """The cells in order."""
        leaving = self.num_nodes * self.width
        before = [self.width] * self.inputs[0] + [leaving] * self.num_normal
        cells = [
            CellShape(tuple(before[k : k + self.inputs[0]]), self.width, reduces=False, bridges=False)
            for k in range(self.num_normal)
        ]
        in_channels = (leaving, self.width)
        for k in range(self.num_reduction):
            width = self.width * 2 ** (k + 1)
            cells.append(CellShape(in_channels, width, reduces=True, bridges=k > 0))
            in_channels = (leaving if k == 0 else in_channels[1], self.num_nodes * width)
        return tuple(cells)


class _Fusion(nn.Module):
    """Stems, cells that `make_cell` builds, and the head.

    Normalising each image leaves nothing of how bright it was, and the halvings of many cells little of a finding of a
    few voxels; so with `head_reads="stages"` the head reads mean and largest value of each modality's first convolution
    before its normalisation and of the normal cells too, and what a region tells by itself (see `RegionNumbers`).
    Every stem reads a region beside its modality.
    """

    def __init__(self, layout: FusionLayout, make_cell: Callable[[CellShape], nn.Module], affine: bool) -> None:
        super().__init__()
        self.layout = layout
        dims, width, kind = layout.spatial_dims, layout.width, layout.normalisation

        def make_stem(channels: int) -> nn.Module:
            made = stem(channels + layout.region, width, dims, layout.stem_stride, layout.stem_form)
            return with_normalisation(made, kind, affine)

        self.stems = nn.ModuleList(make_stem(channels) for channels in layout.modalities)
        alike = len(set(layout.modalities)) == 1
        self.stem_of_sum = make_stem(layout.modalities[0] if alike else sum(layout.modalities))
        self.cells = nn.ModuleList(make_cell(shape) for shape in layout.shapes)
        last = layout.num_nodes * layout.shapes[-1].width
        self.convolutions = nn.Sequential(
            with_normalisation(relu_conv_norm(last, layout.head, dims, 3), kind, affine),
            nn.ReLU(),
            convolution(layout.head, layout.head, dims, 3),  # not normalised: of each image the means are what is read
        )
        further = 0
        if layout.head_reads == "stages":
            first: list[Any] = [convolution_then_rest(stem)[0] for stem in self.stems]
            leaving = layout.num_normal * layout.num_nodes * width
            further = 2 * (sum(layer.out_channels for layer in first) + leaving)
            if layout.region:
                self.region_numbers = RegionNumbers(sum(layout.modalities))
                further += self.region_numbers.size
        self.head = PooledLinear(layout.head, layout.num_outputs, positive=True, further=further)

    def logits(self, images: Tensor, run: RunCell) -> Tensor:
        """Logits of each image, the cells computed by `run`."""
        layout, channels = self.layout, sum(self.layout.modalities)
        pictures, region = images[:, :channels], images[:, channels:]  # which has no channel if there is no region
        parts = pictures.split(layout.modalities, dim=1)
        stems = [convolution_then_rest(stem) for stem in self.stems]
        first = [convolve(beside(part, region)) for (convolve, _), part in zip(stems, parts, strict=True)]
        outputs = [rest(features) for (_, rest), features in zip(stems, first, strict=True)]
        if len(outputs) == 1:
            outputs *= 2
        alike = len(set(layout.modalities)) == 1
        total = self.stem_of_sum(beside(reduce(add, parts) if alike else pictures, region))
        normal, reduction = self.cells[: layout.num_normal], self.cells[layout.num_normal :]
        for k, cell in enumerate(normal):
            outputs.append(run(k, CELLS[0], cell, outputs[-layout.inputs[0] :]))
        early = [*first, *outputs[-layout.num_normal :]]
        outputs.append(total)
        for k, cell in enumerate(reduction):
            result = run(len(normal) + k, CELLS[1], cell, outputs[-2:])
            outputs = [outputs[-2] if k == 0 else outputs[-1], result]
        further = [means_and_peaks(features) for features in early] if layout.head_reads == "stages" else []
        if layout.head_reads == "stages" and layout.region:
            further.append(self.region_numbers(pictures, region))
        logits: Tensor = self.head(self.convolutions(outputs[-1]), further)
        return logits


def beside(images: Float[Tensor, "batch ? *space"], region: Float[Tensor, "batch _ *space"]) -> Tensor:
    """Images with the region as their last channel, if there is one."""
    return torch.cat([images, region], dim=1) if region.shape[1] else images


def convolution_then_rest(stem: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The first convolution of a stem, and what follows."""
    return stem[0], stem[1:]  # type: ignore[index]


class FusionCell(nn.Module):
    """One cell: its inputs brought to one width and size, then nodes that sum their edges, all concatenated."""

    def __init__(self, plan: CellPlan, shape: CellShape, spatial_dims: int) -> None:
        super().__init__()
        self.bring = nn.ModuleList(
            (FactorisedReduction if shape.bridges and position == 0 else relu_conv_norm)(
                channels, shape.width, spatial_dims
            )
            for position, channels in enumerate(shape.in_channels)
        )
        inputs = len(shape.in_channels)
        self.nodes = nn.ModuleList(
            NodeSum(node, shape.width, spatial_dims, shape.reduces, inputs) for node in plan.nodes
        )

    def forward(self, inputs: Sequence[Float[Tensor, "batch ? *?"]]) -> Float[Tensor, "batch out *space"]:
        """The concatenated nodes."""
        states = [bring(features) for bring, features in zip(self.bring, inputs, strict=True)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat(states[len(inputs) :], dim=1)


class FusionNetwork(_Fusion):
    """The network of one normal and one reduction cell, repeated."""

    def __init__(self, layout: FusionLayout, normal: CellPlan, reduction: CellPlan) -> None:
        def make_cell(shape: CellShape) -> nn.Module:
            cell = FusionCell(reduction if shape.reduces else normal, shape, layout.spatial_dims)
            return with_normalisation(cell, layout.normalisation, affine=True)

        super().__init__(layout, make_cell, affine=True)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        return self.logits(images, lambda _position, _kind, cell, inputs: cell(inputs))


class MixedFusionNetwork(_Fusion):
    """All networks of the space in one."""

    def __init__(
        self, layout: FusionLayout, operations: Sequence[Operation], *, recompute: bool, channel_share: int
    ) -> None:
        check_channel_share(layout.width, channel_share)

        def make_cell(shape: CellShape) -> nn.Module:
            return MixedCell(
                operations,
                shape,
                num_nodes=layout.num_nodes,
                spatial_dims=layout.spatial_dims,
                normalisation=layout.normalisation,
                channel_share=channel_share,
            )

        super().__init__(layout, make_cell, affine=False)
        self.channel_share = channel_share
        self.recomputed = recomputed_cells(layout.shapes, layout.spatial_dims) if recompute else 0
        names = tuple(operation.name for operation in operations)
        kinds = zip(CELLS, layout.inputs, strict=True)
        self.choices = tuple(c for cell, inputs in kinds for c in edge_choices(cell, inputs, layout.num_nodes, names))
        use_quick_forms(self)

    def forward(
        self, images: Float[Tensor, "batch channel *space"], mixture: Mapping[str, Float[Tensor, " option"]]
    ) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        weights = cell_weights(mixture, self.choices, images.device)
        return self.logits(
            channels_innermost(images),
            lambda position, kind, cell, inputs: cell(inputs, weights[kind], recompute=position < self.recomputed),
        )

    def give_weights(self, network: FusionNetwork) -> None:
        """Copy the weights and statistics of one path into the network that has it."""
        copy_weights(self.stems, network.stems)
        copy_weights(self.stem_of_sum, network.stem_of_sum)
        copy_weights(self.convolutions, network.convolutions)
        copy_weights(self.head, network.head)
        if self.layout.region and self.layout.head_reads == "stages":
            copy_weights(self.region_numbers, network.region_numbers)
        for mixed, cell in zip(self.cells, network.cells, strict=True):
            copy_cell_weights(mixed, cell.bring, cell.nodes)  # type: ignore[arg-type]
