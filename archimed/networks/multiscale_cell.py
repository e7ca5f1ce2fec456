"""The two cells of MSTF-NAS: a tree of operations at one size, and parallel poolings that halve it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.layers import relu_conv_norm
from archimed.networks.operations import Operation, Zero
from archimed.networks.pooling import PoolingKind, pooling


class NormalCell(nn.Module):
    """Features extracted at one size (MSTF-NAS, Sec. III-A and Fig. 4).

    A 1x1 convolution brings the input to the cell's width, each node applies one operation to the output of an
    earlier one, and the outputs that no node reads are concatenated and brought back to the width by a second 1x1
    convolution. A cell without nodes gives zeros.
    """

    def __init__(self, in_channels: int, width: int, spatial_dims: int, nodes: Sequence[tuple[Operation, int]]) -> None:
        """Nodes are (operation, input): 0 reads the cell's input, k the output of the k-th node."""
        super().__init__()
        self.inputs = tuple(source for _, source in nodes)
        self.outputs = tuple(k for k in range(1, len(nodes) + 1) if k not in self.inputs)
        self.to_width = relu_conv_norm(in_channels, width, spatial_dims)
        self.operations = nn.ModuleList(operation.build(width, spatial_dims) for operation, _ in nodes)
        self.fuse = relu_conv_norm(len(self.outputs) * width, width, spatial_dims) if nodes else Zero(spatial_dims)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch width *space"]:
        """Features of the same size."""
        values = [self.to_width(features)]
        for operation, source in zip(self.operations, self.inputs, strict=True):
            values.append(operation(values[source]))
        fused: Tensor = self.fuse(torch.cat([values[k] for k in self.outputs or (0,)], dim=1))
        return fused


class ReductionCell(nn.Module):
    """Features summarised at several scales (MSTF-NAS, Sec. III-A and Fig. 3).

    Each of n poolings of stride 2 is followed by a 1x1 convolution to 1/n of the channels; all are concatenated, so
    channels stay and axes of m pixels leave with ceil(m / 2).
    """

    def __init__(self, channels: int, spatial_dims: int, poolings: Sequence[tuple[PoolingKind, int]]) -> None:
        """Poolings are (kind, side of the window in pixels)."""
        super().__init__()
        share = channels // len(poolings)
        self.scales = nn.ModuleList(
            nn.Sequential(pooling(kind, side, spatial_dims), relu_conv_norm(channels, share, spatial_dims))
            for kind, side in poolings
        )

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *half"]:
        """Features of half the size."""
        return torch.cat([scale(features) for scale in self.scales], dim=1)
