"""The networks of EMARS, and all of them in one: a stem, cells of MBConv blocks, global average pooling and a head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.genotype import Choice
from archimed.networks.heads import PooledLinear
from archimed.networks.inverted_residual import InvertedResidual, conv_norm_relu6
from archimed.networks.layers import convolution, use_quick_forms
from archimed.networks.mixed_cell import again_later, channels_innermost, copy_weights, read_mixture
from archimed.networks.mixed_operation import EdgeWeights, RunningSum
from archimed.networks.operations import Operation

Steps = tuple[int, ...]  # pixels per step along each axis


@dataclass(frozen=True)
class StagesLayout:
    """What all networks of a space have in common.

    Attributes:
        channels: of the images.
        num_outputs: logits.
        stem_width: channels of the first convolution.
        first_width: channels of the block after it, which is fixed.
        widths: channels of each cell.
        blocks: number of blocks of each cell.
        head_width: channels that are pooled.
        strides: of the first convolution, then of each cell's first calibration.
    """

    channels: int
    num_outputs: int
    stem_width: int
    first_width: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    head_width: int
    strides: tuple[Steps, ...]

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.strides[0])


def block_names(blocks: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """The blocks of each cell, `cell1.block1` first."""
    return tuple(
        tuple(f"cell{cell}.block{block}" for block in range(1, count + 1)) for cell, count in enumerate(blocks, start=1)
    )


def calibration(in_channels: int, out_channels: int, spatial_dims: int, stride: Steps) -> nn.Module:
    """A pointwise convolution without normalisation; its first weights keep the variance of what comes in."""
    layer = convolution(in_channels, out_channels, spatial_dims, 1, stride=stride)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")  # type: ignore[arg-type]
    return layer


class _Stages(nn.Module):
    """What a network and the supernet share: everything but the blocks' operations."""

    def __init__(self, layout: StagesLayout) -> None:
        super().__init__()
        dims = layout.spatial_dims
        self.names = block_names(layout.blocks)
        self.stem = nn.Sequential(
            *conv_norm_relu6(layout.channels, layout.stem_width, dims, 3, stride=layout.strides[0]),
            InvertedResidual(layout.stem_width, layout.first_width, dims, 3, expansion=1),
        )
        self.calibrations = nn.ModuleList()
        before = layout.first_width
        for width, count, stride in zip(layout.widths, layout.blocks, layout.strides[1:], strict=True):
            for block in range(count):
                step = stride if block == 0 else (1,) * dims
                self.calibrations.append(calibration(before, width, dims, step))
                before = width
        self.last = conv_norm_relu6(before, layout.head_width, dims, 1)
        self.head = PooledLinear(layout.head_width, layout.num_outputs)

    @property
    def block_widths(self) -> list[int]:
        """Channels of each block, cell after cell."""
        return [layer.out_channels for layer in self.calibrations]  # type: ignore[misc]

    def cam_parts(self) -> tuple[nn.Module, nn.Linear]:
        """The module whose output map is averaged over space, and the linear layer on the averages."""
        return self.last, self.head.linear


class MbconvStages(_Stages):
    """One network: before each block a calibration, then the operation chosen for it."""

    def __init__(self, layout: StagesLayout, operations: Sequence[Operation]) -> None:
        """Operations: one per block, cell after cell."""
        super().__init__(layout)
        self.operations = nn.ModuleList(
            operation.build(width, layout.spatial_dims)
            for operation, width in zip(operations, self.block_widths, strict=True)
        )

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits."""
        features = self.stem(images)
        for calibrate, operation in zip(self.calibrations, self.operations, strict=True):
            features = operation(calibrate(features))
        logits: Tensor = self.head(self.last(features))
        return logits


class MixedBlock(nn.Module):
    """All options of one block; those of weight zero are not computed."""

    def __init__(self, operations: Sequence[Operation], channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.options = nn.ModuleDict(
            {operation.name: operation.build(channels, spatial_dims) for operation in operations}
        )

    def forward(
        self, features: Float[Tensor, "batch channel *space"], weights: EdgeWeights
    ) -> Float[Tensor, "batch channel *space"]:
        """The weighted sum of the options."""
        total = RunningSum()
        for option, weight, active in zip(self.options.values(), weights.values, weights.active, strict=True):
            if active:
                total.add(option(features), weight)
        return torch.zeros_like(features) if total.value is None else total.value


class MixedMbconvStages(_Stages):
    """All networks of a space in one: every option of every block with weights of its own, the rest shared."""

    def __init__(
        self, layout: StagesLayout, operations: Sequence[Operation], choices: Sequence[Choice], *, recompute: bool
    ) -> None:
        super().__init__(layout)
        self.choices, self.recompute = tuple(choices), recompute
        self.blocks = nn.ModuleList(MixedBlock(operations, width, layout.spatial_dims) for width in self.block_widths)
        use_quick_forms(self)

    def forward(
        self, images: Float[Tensor, "batch channel *space"], mixture: Mapping[str, Float[Tensor, " option"]]
    ) -> Float[Tensor, "batch output"]:
        """Logits; a one-hot mixture computes, and gives gradients to, the weights of its path alone."""
        weights = read_mixture(mixture, self.choices, images.device)
        run = again_later if self.recompute and torch.is_grad_enabled() else _at_once
        features = self.stem(channels_innermost(images))
        for calibrate, block, choice in zip(self.calibrations, self.blocks, self.choices, strict=True):
            brought, sole = calibrate(features), _sole(mixture[choice.name])
            if sole is None:
                features = run(block, brought, weights[choice.name])
            else:
                features = run(block.options[choice.options[sole]], brought)  # type: ignore[index, arg-type]
        logits: Tensor = self.head(self.last(features))
        return logits

    @torch.no_grad()
    def give_weights(self, network: MbconvStages, path: Sequence[str]) -> None:
        """Copy the weights of one path, the option of each block, into the network that has it."""
        for name, part in network.named_children():
            if name != "operations":
                copy_weights(getattr(self, name), part)
        for block, operation, option in zip(self.blocks, network.operations, path, strict=True):
            copy_weights(block.options[option], operation)  # type: ignore[index, arg-type]


def _at_once(part: nn.Module, *inputs: object) -> Tensor:
    result: Tensor = part(*inputs)
    return result


def _sole(weights: Tensor) -> int | None:
    """The option that has weight 1 and all others 0, if the weights are not learnt: it is not weighed."""
    values = weights.tolist() if not weights.requires_grad else []
    return values.index(1) if values.count(1) == 1 and values.count(0) == len(values) - 1 else None
