"""Small networks of every space, and how they are exported in tests."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from archimed.data.normalisation import Normalisation
from archimed.data.settings import DataSettings
from archimed.export.calls import Calls, recorded_calls
from archimed.export.exported import Exported
from archimed.export.preprocessing import preprocessing
from archimed.genotype import random_genotype
from archimed.networks.members import Members
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces import SearchSpace
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fixed import DenseNet, Mc3, ResNet
from archimed.spaces.fusion_baselines import Radiomics, ReferenceCnn
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.spaces.segmenters import AttentionUnet, DynUnet, Unet, UnetPlusPlus
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.task import ImagingTask

IMAGES = ImagingTask("binary", ("healthy", "ill"), 1, (14, 18))
VOLUMES = ImagingTask("multi-class", ("a", "b", "c"), 2, (8, 12, 10), ("PET", "CT"))
OUTLINED = ImagingTask("binary", ("no", "yes"), 3, (8, 12, 10), ("PET", "CT", "region"))
MASKS = ImagingTask("segmentation", ("background", "organ", "lesion"), 2, (20, 26))
VOLUME_MASKS = ImagingTask("segmentation", ("background", "organ"), 1, (10, 12, 9))
CASES: Mapping[str, tuple[SearchSpace, ImagingTask]] = {
    "multiscale 2D": (MultiscaleCellSpace(width=8, num_blocks=2), IMAGES),
    "multiscale 3D": (MultiscaleCellSpace(width=8, num_blocks=2, stem_stride=1), VOLUMES),
    "darts 2D": (DartsCellSpace(num_cells=3, width=4), IMAGES),
    "darts 3D, instance": (DartsCellSpace(num_cells=3, width=4, normalisation="instance"), VOLUMES),
    "nsganet 2D": (NsganetCellSpace(num_cells=3, width=4), IMAGES),
    "mbconv 2D": (MbconvStagesSpace(blocks=(2, 1), widths=(4, 6), stem_width=4, first_width=3, head_width=9), IMAGES),
    "residual 3D": (ResidualStagesSpace(stages=2, most_width=16, most_layers=2), VOLUMES),
    "fusion 3D": (FusionCellSpace(num_nodes=2, width=4, head=6), VOLUMES),
    "fusion 3D, region": (FusionCellSpace(num_nodes=2, num_reduction=1, width=4, head=6), OUTLINED),
    "weave 2D": (WeavedUnetSpace(depth=3, layers=7, width=4), MASKS),
    "weave 3D": (WeavedUnetSpace(depth=3, layers=6, width=2, num_nodes=2), VOLUME_MASKS),
    "late fusion 3D": (ReferenceCnn(encoders=((0,), (1,)), widths=(4, 6, 8)), VOLUMES),
    "largest slice": (ReferenceCnn(widths=(4, 6), view="largest-slice"), VOLUMES),
    "radiomics": (Radiomics(trees=5), IMAGES),
    "resnet 2D": (ResNet(), IMAGES),
    "densenet 2D": (DenseNet(), IMAGES),
    "mc3": (Mc3(), VOLUMES),
    "unet 2D": (Unet(width=2), MASKS),
    "unet++ 2D": (UnetPlusPlus(width=2), MASKS),
    "attention unet 3D": (AttentionUnet(width=4), VOLUME_MASKS),
    "dynunet 3D": (DynUnet(width=4), VOLUME_MASKS),
}


def built(name: str, members: int = 1) -> tuple[nn.Module, Calls, ImagingTask]:
    """A network of a case, its statistics no longer those it began with, and the calls that built it."""
    space, task = CASES[name]
    genotype = random_genotype(space.choices, numpy_generator(1, "export"))
    with torch_seed(0, "weights"), recorded_calls() as calls:
        network = space.build(genotype, task)
        if members > 1:
            others = [space.build(genotype, task) for _ in range(members - 1)]
            network = Members([network, *others], each_output_alone=task.kind == "multi-label")
    with torch_seed(1, "weights"), torch.no_grad():
        for one in network.state_dict().values():
            if one.is_floating_point() and one.dtype == torch.float32:
                one.add_(torch.rand_like(one) / 1000)
    return network.eval(), calls, task


def exported(name: str, members: int = 1) -> Exported:
    """The same with all that an export tells."""
    network, calls, task = built(name, members)
    rule: dict[str, Any] = preprocessing(
        task, Normalisation(1.0, (0.0,) * task.channels, (1.0,) * task.channels), DataSettings(), task.image_size, {}
    )
    return Exported(network, calls, task, f"A network of {name}", rule, "# A network\n")


def images_for(task: ImagingTask, count: int = 3) -> torch.Tensor:
    """Images of noise; a region is a box."""
    with torch_seed(2, "images"):
        images = torch.randn(count, task.channels, *task.image_size)
    if task.has_region:
        images[:, -1] = 0
        images[:, -1, 2:5, 3:7, 3:6] = 1
    return images
