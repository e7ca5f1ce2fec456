"""Networks that MM-NAS is compared with (Peng et al., 2020, Tables 1 and 2), as spaces without choices.

By one modality, early fusion (all channels at once), late fusion (an encoder for each modality), one slice instead of
the volume, and hand-crafted features. The paper does not give the sizes of its comparison networks: they are ours.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.networks.forest import RadiomicsForest
from archimed.networks.layers import Normalisation
from archimed.networks.reference_cnn import CnnLayout, ReferenceNetwork, SliceNetwork, View, encoder_groups
from archimed.spaces.choiceless import Choiceless
from archimed.spaces.modalities import modalities
from archimed.spaces.protocol import SearchSpace
from archimed.task import ImagingTask


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ReferenceCnn(Choiceless):
    """A plain network of one encoder, or of several for as many groups of channels, in 2D and 3D, or on one slice.

    Several encoders are late fusion: their features meet in one linear layer. It stands for 3DMCL (Peng et al., 2019)
    in that modalities are encoded apart, but lacks its learning at several depths and its further tasks. A region that
    the images have is read by every encoder, and what it tells by itself by the linear layer.
    """

    encoders: tuple[tuple[int, ...], ...] | None = Field(
        default=None, min_length=1, description="channels that each encoder reads; none: one encoder of all channels"
    )
    view: View = Field(
        default="whole",
        description="whole; of volumes also central-slice, or largest-slice: where most of the guide is bright",
    )
    guide: int = Field(default=0, ge=0, description="channel that chooses the largest slice")
    widths: tuple[int, ...] = Field(
        default=(8, 16, 32, 64), min_length=2, description="channels of the first convolution and the stages (ours)"
    )
    normalisation: Normalisation = Field(
        default="instance", description="instance, or batch where batches hold several images (ours)"
    )

    shown: ClassVar[str] = "reference-cnn"

    def _network(self, task: ImagingTask) -> nn.Module:
        encoders = encoder_groups(self.encoders, task.image_channels)
        highest = max(channel for group in encoders for channel in (*group, -1))
        if (
            highest >= task.image_channels
            or self.guide >= task.channels
            or any(not group or min(group) < 0 for group in encoders)
        ):
            raise SettingsError(
                f"space.encoders and space.guide name channels from 0 to {task.image_channels - 1}; got {encoders} and "
                f"{self.guide}. Name channels that the images have."
            )
        slices = self.view != "whole"
        if slices and task.spatial_dims == 2:
            raise SettingsError(
                f"space.view={self.view} looks at a slice of a volume; the images are 2D. Leave it out."
            )
        network = ReferenceNetwork(
            CnnLayout(
                encoders=encoders,
                widths=self.widths,
                normalisation=self.normalisation,
                num_outputs=task.num_outputs,
                spatial_dims=2 if slices else task.spatial_dims,
                region=task.has_region,
            )
        )
        return SliceNetwork(network, self.view, self.guide) if slices else network


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Radiomics(Choiceless):
    """Hand-crafted features of intensity, shape and texture, read by a random forest; 2D and 3D.

    Stands for HC+RF (Vallieres et al., 2015), but selects no features, and measures what is bright where the images
    have no region.
    """

    trees: int = Field(default=500, ge=1, description="of the forest, grown until their leaves are pure (ours)")

    shown: ClassVar[str] = "radiomics"

    def _network(self, task: ImagingTask) -> nn.Module:
        if task.kind == "multi-label":
            raise SettingsError(
                "The radiomics forest gives each image one class; the task is multi-label. Choose another network."
            )
        return RadiomicsForest(task.num_outputs, self.trees, outlined=task.has_region)


def fusion_baselines(task: ImagingTask) -> Mapping[str, SearchSpace]:
    """The networks of this file that fit a task, by their name in a run."""
    groups = modalities(task)
    found: dict[str, SearchSpace] = {}
    if len(groups) > 1:
        found |= {f"{name}-only": ReferenceCnn(encoders=(channels,)) for name, channels in groups.items()}
        found["early-fusion"] = ReferenceCnn()
        found["late-fusion"] = ReferenceCnn(encoders=tuple(groups.values()))
    if task.spatial_dims == 3:
        guide = task.channels - 1 if task.has_region else groups["pet"][0] if "pet" in groups else 0
        found["central-slice"] = ReferenceCnn(view="central-slice")
        found["largest-slice"] = ReferenceCnn(view="largest-slice", guide=guide)
    if task.kind != "multi-label":
        found["radiomics"] = Radiomics()
    return found
