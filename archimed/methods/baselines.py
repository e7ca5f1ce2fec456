"""The networks that stand beside every method's own: what `--baselines` names mean.

Baselines that a search must find come from the method (`Method.searched_baselines`): the best, largest and costliest of
as many random architectures as it scored, or, where it learns instead of scoring, one drawn at random. Fixed networks
are search spaces without choices; which there are depends on the data, for some give masks, some are of a modality, of
several, or of a slice of a volume. All are trained by the method's own recipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from archimed.data.dataset import Dataset
from archimed.errors import SettingsError
from archimed.methods.protocol import Selection
from archimed.methods.random_search import FROM_RANDOM_POOL
from archimed.spaces import SearchSpace
from archimed.spaces.fixed import DenseNet, Mc3, ResNet
from archimed.spaces.fusion_baselines import fusion_baselines
from archimed.spaces.modalities import modalities
from archimed.spaces.segmenters import NARROW, DynUnet, segmentation_baselines
from archimed.task import ImagingTask

FIXED: Mapping[str, SearchSpace] = {"resnet18": ResNet(depth=18), "resnet50": ResNet(depth=50)}
DEEP: Mapping[str, SearchSpace] = {"resnet101": ResNet(depth=101), "densenet121": DenseNet()}
DEEP_VOLUMES: Mapping[str, SearchSpace] = {**DEEP, "mc3-18": Mc3()}  # what EMARS is compared with
DEFAULT = ("random-search", "resnet18")
DEFAULT_MASKS = ("random-search", "unet")
DROP_ORDER = (  # when time is short; a star stands for any modality
    *("resnet101", "densenet121", "mc3-18"),
    *("resnet50", "macs", "random-search-100", "parameters", "largest-slice", "central-slice", "*-only"),
    *("late-fusion", "resnet18", "early-fusion", "radiomics"),
    *("attention-unet", "unet-plus-plus", "dynunet", "unet"),
    *(f"{name}{NARROW}" for name in ("attention-unet", "unet-plus-plus", "dynunet", "unet")),
    "random-search",
)


def fixed_networks(task: ImagingTask | None = None) -> Mapping[str, SearchSpace]:
    """The baselines that need no search, by name; without a task those that fit every classification."""
    if task is None:
        return {**FIXED, **DEEP}
    if task.kind == "segmentation":
        return segmentation_baselines()
    return {**FIXED, **(DEEP_VOLUMES if task.spatial_dims == 3 else DEEP), **fusion_baselines(task)}


def baseline_names(
    requested: str,
    searched: Sequence[str] = FROM_RANDOM_POOL,
    task: ImagingTask | None = None,
    asked_by_method: Sequence[str] = (),
) -> tuple[str, ...]:
    """The baselines that `default`, `all`, `none` or a list of names with commas asks for, in a fixed order.

    Args:
        requested: as the user wrote it.
        searched: the method's `searched_baselines`.
        task: what the data ask, on which some baselines depend; None leaves those out. `all` means them too where
            the task has several modalities; of a segmentation, all that give masks.
        asked_by_method: the method's `named_baselines`, which `all` means too, as far as they fit the task.

    Raises:
        SettingsError: a name is no baseline of the method and these data.
    """
    every = (*searched, *fixed_networks(task))
    masks = task is not None and task.kind == "segmentation"
    several = task is not None and len(modalities(task)) > 1
    usual = every if several or masks else (*searched, *FIXED)
    whole = [name for name in usual if name not in DEEP_VOLUMES and not name.endswith(NARROW)]
    whole += [name for name in asked_by_method if name in every]
    named = {"default": DEFAULT_MASKS if masks else DEFAULT, "all": whole, "none": ()}.get(requested)
    names = named if named is not None else [name.strip() for name in requested.split(",")]
    for name in names:
        if name not in every:
            raise SettingsError(
                f"Baselines of these data are default, all, none or some of {', '.join(every)}; got {name!r}. "
                "Set them with --baselines."
            )
    return tuple(name for name in every if name in names)


def fixed_baseline(name: str, task: ImagingTask | None = None, spacing: tuple[float, ...] | None = None) -> Selection:
    """A fixed network as a selection that needed no search; one that is configured by the spacing, in mm, gets it."""
    space = fixed_networks(task)[name]
    if isinstance(space, DynUnet):
        space = replace(space, spacing=spacing)
    return Selection(name, space, (), "a fixed network")


def typical_spacing(dataset: Dataset) -> tuple[float, ...] | None:
    """The median distance of pixels along each axis, mm; None if that of some case is unknown."""
    known = [one for one in dataset.spacing if one is not None]
    if not known or len(known) < len(dataset.cases):
        return None
    return tuple(float(median(axis)) for axis in zip(*known, strict=True))
