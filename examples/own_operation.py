"""An operation of your own, offered to the edges of DARTS cells beside the usual ones.

archimed run darts --data phantom:lesions2d --set space.name=examples/own_operation.py:AttentiveCells --out runs/own
"""

from torch import Tensor, nn

from archimed.networks.layers import batch_norm, convolution
from archimed.networks.operations import Operation
from archimed.spaces.darts_cell import OPERATIONS, DartsCellSpace


class ChannelAttention(nn.Module):
    """Weigh each channel by what all channels hold on average (Hu et al., 2018)."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.space = tuple(range(2, 2 + spatial_dims))
        self.squeeze = convolution(channels, max(1, channels // 4), spatial_dims, 1)
        self.excite = convolution(max(1, channels // 4), channels, spatial_dims, 1)
        self.norm = batch_norm(channels, spatial_dims)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same form [batch, channel, *space]."""
        average = features.mean(self.space, keepdim=True)
        weighed: Tensor = self.norm(features * self.excite(self.squeeze(average).relu()).sigmoid())
        return weighed


# without `make_strided` the operation follows a factorised reduction where a cell halves the size
CHANNEL_ATTENTION = Operation("channel_attention", ChannelAttention)


class AttentiveCells(DartsCellSpace):
    """DARTS cells with one more operation; all settings of `darts_cell` hold."""

    operations = (*OPERATIONS, CHANNEL_ATTENTION)


if __name__ == "__main__":
    from archimed.testing import check_operation

    check_operation(CHANNEL_ATTENTION)
    print("the operation keeps its contract")
