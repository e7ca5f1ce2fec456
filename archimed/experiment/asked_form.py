"""How the images of a run were made, so that others are made alike."""

from dataclasses import replace
from typing import Any

from archimed.data.listing import Modality
from archimed.data.normalisation import Normalisation
from archimed.data.preparation.common_grid import CommonGrid
from archimed.data.source_options import own_settings
from archimed.data.unlabelled import ImageForm
from archimed.data.volume import ChannelKind
from archimed.experiment.ensemble import Ensemble
from archimed.files import read_json
from archimed.runs import RunDirectory
from archimed.task import REGION


def form_of(ensemble: Ensemble) -> ImageForm:
    """How the images of the run were made, for each modality and in the size that the networks see."""
    task, experiment = ensemble.task, ensemble.experiment
    told = fingerprint(ensemble)
    normalise = ensemble.members[0].normalise
    settings = own_settings(source_of(ensemble), experiment.data)[1]
    settings = CommonGrid.from_json(told["grid"]).asked_by(settings) if told.get("grid") else settings
    size: Any = task.image_size if len(set(task.image_size)) > 1 else task.image_size[0]
    if task.kind == "segmentation":  # whose task has the size of patches
        size = experiment.method.training.image_size or (None if settings.image_size == "auto" else settings.image_size)
    settings = replace(settings, image_size=size, region_channel=task.has_region)
    return ImageForm(
        modalities=modalities_of(normalise, task.channels),
        settings=settings,
        spatial_dims=task.spatial_dims,
        regions=task.has_region or bool(told.get("regions", (told.get("grid") or {}).get("about") == "region")),
        seed=experiment.seed,
    )


def modalities_of(normalise: Normalisation, channels: int) -> tuple[Modality, ...]:
    """The modalities of the run's images, a region not among them, with the kinds their values had."""
    other: ChannelKind = "other"
    kinds = normalise.kinds or (other,) * channels
    if not normalise.names:
        return (Modality("image", kinds[0]),)
    by_name = dict(zip(reversed(normalise.names), reversed(kinds), strict=True))
    return tuple(
        Modality(name, by_name[name])
        for name in dict.fromkeys(normalise.names)
        if not (name == REGION and by_name[name] == "mask")
    )


def fingerprint(ensemble: Ensemble) -> dict[str, Any]:
    """What the run's data.json says of the data set of these networks."""
    told: dict[str, Any] = read_json(RunDirectory(ensemble.run).data)
    dataset = ensemble.trained[0].dataset
    found: dict[str, Any] = told if dataset is None else told["datasets"][dataset]
    return found


def source_of(ensemble: Ensemble) -> str:
    """What `--data` named for the data set of these networks."""
    dataset, sources = ensemble.trained[0].dataset, ensemble.experiment.sources
    if dataset is None:
        return sources[0]
    names = [*read_json(RunDirectory(ensemble.run).data)["datasets"]]
    return sources[names.index(dataset)]
