"""Search spaces by name, one file each, and fixed networks as spaces without choices.

Importing this package is quick: a space's module, and PyTorch with it, is loaded when the space is looked up.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from archimed.spaces.protocol import SearchSpace, canonical
from archimed.spaces.settings import space_from_settings as _space_from_settings
from archimed.spaces.settings import space_settings as _space_settings

__all__ = ["SPACES", "SearchSpace", "canonical", "space_from_settings", "space_settings"]


class _Spaces(Mapping[str, type]):
    """Names and classes; a class is imported when it is asked for."""

    def __init__(self, **paths: str) -> None:
        self._paths = paths

    def __getitem__(self, name: str) -> type:
        module, _, class_name = self._paths[name].partition(":")
        found: type = getattr(import_module(f"archimed.spaces.{module}"), class_name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


SPACES: Final[Mapping[str, type]] = _Spaces(
    multiscale_cell="multiscale_cell:MultiscaleCellSpace",
    darts_cell="darts_cell:DartsCellSpace",
    fusion_cell="fusion_cell:FusionCellSpace",
    nsganet_cell="nsganet_cell:NsganetCellSpace",
    reference_cnn="fusion_baselines:ReferenceCnn",
    radiomics="fusion_baselines:Radiomics",
    resnet="fixed:ResNet",
    densenet="fixed:DenseNet",
    mc3="fixed:Mc3",
    weaved_unet="weaved_unet:WeavedUnetSpace",
    mbconv_stages="mbconv_stages:MbconvStagesSpace",
    residual_stages="residual_stages:ResidualStagesSpace",
    unet="segmenters:Unet",
    unet_plus_plus="segmenters:UnetPlusPlus",
    attention_unet="segmenters:AttentionUnet",
    dynunet="segmenters:DynUnet",
)


def space_from_settings(name: str, fields: Mapping[str, object], trust_files: bool = False) -> SearchSpace:
    """The space of a name, or of the user's own `path/file.py:Object`, with its fields set.

    Args:
        name: a key of `SPACES` (hyphens count as underscores), or a file and the class, or the ready space, in it.
        fields: settings by name; those not given keep their defaults.
        trust_files: whether `path/file.py:Object` may be imported, which executes the file. Say so only for a name
            that the user typed, never for one read from a run, so that opening a run executes no code.

    Raises:
        SettingsError: an unknown name or field (naming the nearest), a value out of range, or a file that is not
            trusted or holds no search space.
    """
    return _space_from_settings(SPACES, name, fields, trust_files)


def space_settings(space: SearchSpace) -> dict[str, object]:
    """Name and fields of a space, from which `space_from_settings(name, fields)` makes it again."""
    return _space_settings(SPACES, space)
