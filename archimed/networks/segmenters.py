"""U-Net and its kin from MONAI's parts, with the outputs of deep supervision where their papers have it."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import Normalisation, with_normalisation

Maps = Float[Tensor, "batch channel *space"]
LEVELS = 5  # resolutions of U-Net, U-Net++ and Attention U-Net
RELU = "relu"


def unet(spatial_dims: int, channels: int, classes: int, width: int, normalisation: Normalisation) -> nn.Module:
    """U-Net (Ronneberger et al., 2015, Fig. 1) with padded convolutions and normalisation."""
    from monai.networks.nets.basic_unet import BasicUNet, UpCat

    widths, norm = _widths(width), _norm(normalisation)
    network: nn.Module = BasicUNet(spatial_dims, channels, classes, (*widths, width), act=RELU, norm=norm)
    # MONAI's last step up keeps twice the channels of the paper's
    network.upcat_1 = UpCat(spatial_dims, widths[1], width, width, RELU, norm, True)
    return network


def attention_unet(
    spatial_dims: int, channels: int, classes: int, width: int, normalisation: Normalisation
) -> nn.Module:
    """Attention U-Net (Oktay et al., 2018): gates on the skip connections; strided convolutions for its poolings."""
    from monai.networks.nets.attentionunet import AttentionUnet

    network = AttentionUnet(spatial_dims, channels, classes, _widths(width), (2,) * (LEVELS - 1))
    return with_normalisation(network, normalisation, affine=True)


class UnetPlusPlus(nn.Module):
    """U-Net++ (Zhou et al., 2018): nested skip connections, an output after each of the four depths."""

    def __init__(
        self, spatial_dims: int, channels: int, classes: int, width: int, normalisation: Normalisation
    ) -> None:
        from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus

        super().__init__()
        self.nested = BasicUNetPlusPlus(
            spatial_dims,
            channels,
            classes,
            (*_widths(width), width),
            deep_supervision=True,
            act=RELU,
            norm=_norm(normalisation),
        )

    def forward(self, images: Maps) -> Maps:
        """Logits of the deepest output."""
        return self.exits(images)[-1]

    def exits(self, images: Maps) -> tuple[Maps, ...]:
        """Logits of every depth, the shallowest first."""
        return tuple(self.nested(images))


class DynamicUnet(nn.Module):
    """A U-Net configured by size and spacing, as nnU-Net does (Isensee et al., 2021)."""

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        classes: int,
        widths: Sequence[int],
        kernels: Sequence[tuple[int, ...]],
        strides: Sequence[tuple[int, ...]],
    ) -> None:
        """Widths, kernels and strides are of each resolution, the finest first.

        All but the finest and the two coarsest have an output of their own for deep supervision, as in nnU-Net.
        """
        from monai.networks.nets.dynunet import DynUNet

        super().__init__()
        supervised = max(0, len(strides) - 3)
        whole = DynUNet(
            spatial_dims,
            channels,
            classes,
            kernel_size=list(kernels),
            strides=list(strides),
            upsample_kernel_size=list(strides[1:]),
            filters=list(widths),
            deep_supervision=supervised > 0,
            deep_supr_num=max(1, supervised),
        )
        # its parts alone: as a whole it names each weight twice, and keeps the coarser outputs from call to call
        self.down = nn.ModuleList([whole.input_block, *whole.downsamples])
        self.bottom = whole.bottleneck
        self.up = whole.upsamples
        finer_first = [whole.output_block, *(whole.deep_supervision_heads if supervised else ())]
        self.heads = nn.ModuleList(finer_first[::-1])

    def forward(self, images: Maps) -> Maps:
        """Logits of the finest output."""
        logits: Tensor = self.heads[-1](self._walk(images)[-1])
        return logits

    def exits(self, images: Maps) -> tuple[Maps, ...]:
        """Logits of every supervised resolution, resized to the finest; the coarsest first."""
        maps = self._walk(images)[-len(self.heads) :]
        mode = "bilinear" if images.ndim == 4 else "trilinear"
        found = [head(features) for head, features in zip(self.heads, maps, strict=True)]
        return (*(functional.interpolate(one, images.shape[2:], mode=mode) for one in found[:-1]), found[-1])

    def _walk(self, images: Maps) -> list[Maps]:
        """The features of each resolution on the way up, the coarsest first."""
        kept = [images]
        for block in self.down:
            kept.append(block(kept[-1]))
        maps = [self.bottom(kept[-1])]
        for block, beside in zip(self.up, reversed(kept[1:]), strict=True):
            maps.append(block(maps[-1], beside))
        return maps


def _widths(width: int) -> tuple[int, ...]:
    return tuple(width * 2**level for level in range(LEVELS))


def _norm(kind: Normalisation) -> tuple[str, dict[str, bool]]:
    return kind, {"affine": True}
