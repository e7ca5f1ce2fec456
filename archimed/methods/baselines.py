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
from archimed.spaces.fixed import ResNet
from archimed.spaces.fusion_baselines import fusion_baselines
from archimed.spaces.modalities import modalities
from archimed.spaces.segmenters import NARROW, DynUnet, segmentation_baselines
from archimed.task import ImagingTask

FIXED: Mapping[str, SearchSpace] = {"resnet18": ResNet(depth=18), "resnet50": ResNet(depth=50)}
DEFAULT = ("random-search", "resnet18")
DEFAULT_MASKS = ("random-search", "unet")
DROP_ORDER = (  # when time is short; a star stands for any modality
    *("resnet50", "macs", "random-search-100", "parameters", "largest-slice", "central-slice", "*-only"),
    *("late-fusion", "resnet18", "early-fusion", "radiomics"),
    *("attention-unet", "unet-plus-plus", "dynunet", "unet"),
    *(f"{name}{NARROW}" for name in ("attention-unet", "unet-plus-plus", "dynunet", "unet")),
    "random-search",
)


def fixed_networks(task: ImagingTask | None = None) -> Mapping[str, SearchSpace]:
    """The baselines that need no search, by name; without a task those that fit every classification."""
    if task is None:
        return FIXED
    return segmentation_baselines() if task.kind == "segmentation" else {**FIXED, **fusion_baselines(task)}


def baseline_names(
    requested: str, searched: Sequence[str] = FROM_RANDOM_POOL, task: ImagingTask | None = None
) -> tuple[str, ...]:
    """The baselines that `default`, `all`, `none` or a list of names with commas asks for, in a fixed order.

    Args:
        requested: as the user wrote it.
        searched: the method's `searched_baselines`.
        task: what the data ask, on which some baselines depend; None leaves those out. `all` means them too where
            the task has several modalities; of a segmentation, all that give masks.

    Raises:
        SettingsError: a name is no baseline of the method and these data.
    """
    every = (*searched, *fixed_networks(task))
    masks = task is not None and task.kind == "segmentation"
    several = task is not None and len(modalities(task)) > 1
    wide = tuple(name for name in every if not name.endswith(NARROW))
    whole = wide if several or masks else (*searched, *FIXED)
    named = {"default": DEFAULT_MASKS if masks else DEFAULT, "all": whole, "none": ()}.get(requested)
    names = named if named is not None else tuple(name.strip() for name in requested.split(","))
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
