"""MC3-18 (Tran et al., 2018): a residual network for volumes whose later convolutions read one slice at a time."""

from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.heads import PooledLinear
from archimed.networks.layers import batch_norm, convolution

WIDTHS = (64, 128, 256, 512)
Kernel = tuple[int, int, int]
CUBE: Kernel = (3, 3, 3)
SLICE: Kernel = (1, 3, 3)
HALF_SLICE = (1, 2, 2)  # pixels per step along depth, height and width


def _conv_norm(in_channels: int, out_channels: int, kernel: Kernel, stride: Kernel) -> tuple[nn.Module, nn.Module]:
    return convolution(in_channels, out_channels, 3, kernel, stride=stride), batch_norm(out_channels, 3)


class _Residual(nn.Module):
    """Two convolutions beside what comes in, which a pointwise one brings to the width and size of the result."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Kernel) -> None:
        super().__init__()
        changes = in_channels != out_channels
        stride = HALF_SLICE if changes else (1, 1, 1)
        self.convolved = nn.Sequential(
            *_conv_norm(in_channels, out_channels, kernel, stride),
            nn.ReLU(),
            *_conv_norm(out_channels, out_channels, kernel, (1, 1, 1)),
        )
        one = _conv_norm(in_channels, out_channels, (1, 1, 1), stride)
        self.brought = nn.Sequential(*one) if changes else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, features: Float[Tensor, "batch in *space"]) -> Float[Tensor, "batch out *smaller"]:
        result: Tensor = self.relu(self.convolved(features) + self.brought(features))
        return result


class Mc3(nn.Module):
    """The stem and first layer of R3D-18, then three layers of 2D convolutions; the depth is never halved."""

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_norm(channels, WIDTHS[0], (3, 7, 7), HALF_SLICE), nn.ReLU())
        before = (WIDTHS[0], *WIDTHS[:-1])
        self.layers = nn.Sequential(
            *(
                nn.Sequential(_Residual(last, width, kernel), _Residual(width, width, kernel))
                for last, width, kernel in zip(before, WIDTHS, (CUBE, SLICE, SLICE, SLICE), strict=True)
            )
        )
        self.head = PooledLinear(WIDTHS[-1], num_outputs)

    def forward(self, images: Float[Tensor, "batch channel depth height width"]) -> Float[Tensor, "batch output"]:
        """Logits."""
        logits: Tensor = self.head(self.layers(self.stem(images)))
        return logits

    def cam_parts(self) -> tuple[nn.Module, nn.Linear]:
        """The module whose output map is averaged over space, and the linear layer on the averages."""
        return self.layers, self.head.linear
