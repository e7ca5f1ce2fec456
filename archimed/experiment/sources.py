"""The data sets of a run: read, named apart, and brought to a form in which one search can see them all."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.inspection.sharing import refuse_shared, source_folder
from archimed.data.inspection.survey import Survey
from archimed.data.own_files import refuse_unnamed
from archimed.data.preparation.channels import with_channels
from archimed.data.source import load_dataset
from archimed.errors import DataError, SettingsError
from archimed.evaluation.labels import normal_label
from archimed.experiment.settings import Experiment
from archimed.methods.protocol import data_sets_of

NAME_LENGTH = 60  # characters of a data set's name in names of folders
FOREGROUND = ("background", "foreground")


def read_datasets(experiment: Experiment, image_size: int | None, *, together: bool = False) -> tuple[Dataset, ...]:
    """Load the data sets of a run; several get names that differ and are safe as names of folders.

    Args:
        experiment: names the sources.
        image_size: pixels per axis; None for the size they have.
        together: whether all get the same channels and must have the same size.

    Raises:
        SettingsError: the method takes one data set and several are given, or one is given twice.
        DataError: the data cannot be used, or not together.
    """
    sources, settings = experiment.sources, experiment.data
    check_number(experiment)
    refuse_unnamed(sources)
    shared = len(sources) > 1 and settings.heads == "shared"
    if shared:
        settings = replace(settings, mask_values="foreground")
    found = [
        with_normal_label(
            load_dataset(source, settings, experiment.seed, image_size), experiment.evaluation.normal_label
        )
        for source in sources
    ]
    if len(found) == 1:
        return tuple(found)
    names = safe_names([dataset.name for dataset in found])
    found = [replace(dataset, name=name) for dataset, name in zip(found, names, strict=True)]
    check_folds_agree(found)
    if shared:
        found = [with_one_foreground(dataset) for dataset in found]
    if together:
        channels = common_channels(found)
        check_sizes_agree(found)
        found = [with_rgb(dataset) if dataset.task.channels < channels else dataset for dataset in found]
    return tuple(found)


def check_shared(experiment: Experiment, datasets: Sequence[Dataset], seen: Sequence[Survey]) -> None:
    """Raise DataError if what one data set of a run trains on is what another is tested on."""
    folders = [source_folder(source) for source in experiment.sources]
    refuse_shared(datasets, [survey.digests for survey in seen], folders)


def with_normal_label(dataset: Dataset, setting: str) -> Dataset:
    """A data set of several labels whose task knows which of them says that nothing was found, if one does.

    Raises:
        SettingsError: the setting names no label of the data.
    """
    task = dataset.task
    if task.kind != "multi-label":
        return dataset
    try:
        return replace(dataset, task=replace(task, normal_label=normal_label(task.class_names, setting)))
    except ValueError as error:
        raise SettingsError(
            f"evaluation.normal_label is a label of the data, auto or none; {error}. Set it with --set "
            "evaluation.normal_label=NAME."
        ) from None


def with_one_foreground(dataset: Dataset) -> Dataset:
    """A data set whose masks tell background and foreground alone; one without masks as it is."""
    if dataset.masks is None or dataset.task.class_names == FOREGROUND:
        return dataset
    there = (dataset.target[:, 1:] == 1).any(1, keepdim=True).to(dataset.target.dtype)
    return replace(
        dataset,
        task=replace(dataset.task, class_names=FOREGROUND),
        masks=dataset.masks.recoded(bytes([0, *[1] * 255])),
        target=torch.cat([dataset.target[:, :1], there], dim=1),
    )


def check_number(experiment: Experiment) -> None:
    """Raise SettingsError if the method takes one data set and several are given, or one is given twice."""
    sources = experiment.sources
    if len(sources) != 1 and data_sets_of(experiment.method) == "one":
        raise SettingsError(
            f"{experiment.method.name} takes one --data; got {len(sources)}. Run it once for each data set."
        )
    for source in sources:
        if sources.count(source) > 1:
            raise SettingsError(f"--data names each data set once; {source} is given twice. Leave one out.")


def safe_names(names: Sequence[str]) -> list[str]:
    """Names that differ, also where capitals do not count, of letters, digits, `_` and `-` and inner dots."""
    found: list[str] = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._")[:NAME_LENGTH] or "data"
        candidate, number = stem, 1
        while candidate.lower() in {other.lower() for other in found}:
            number += 1
            candidate = f"{stem}-{number}"
        found.append(candidate)
    return found


def check_folds_agree(datasets: Sequence[Dataset]) -> None:
    """Raise DataError unless all data sets have equally many folds."""
    first = datasets[0]
    for dataset in datasets[1:]:
        if len(dataset.folds) != len(first.folds):
            raise DataError(
                f"Data sets of one run need equally many folds; {first.name} has {len(first.folds)}, {dataset.name} "
                f"{len(dataset.folds)}. Set them with --folds."
            )


def common_channels(datasets: Sequence[Dataset]) -> int:
    """The channels that all data sets are brought to: their own, or RGB where some are grey.

    Raises:
        DataError: they cannot be brought to the same.
    """
    counts = {dataset.task.channels for dataset in datasets}
    if len(counts) == 1 or counts == {1, 3}:
        return max(counts)
    told = ", ".join(f"{dataset.name} {dataset.task.channels}" for dataset in datasets)
    raise DataError(
        f"Data sets searched together need the same channels, or grey and RGB ones; they have {told}. Name the same "
        "data.modalities, or leave one out."
    )


def with_rgb(dataset: Dataset) -> Dataset:
    """A data set of grey images of one size with the grey repeated as red, green and blue."""
    return replace(
        dataset,
        images=Arrays.of(with_channels(dataset.images.all(), 3)),
        task=replace(dataset.task, channels=3, channel_names=()),
        channel_names=(),
        channel_kinds=dataset.channel_kinds * 3,
    )


def check_sizes_agree(datasets: Sequence[Dataset]) -> None:
    """Raise an error unless all images of all data sets have one size."""
    first = datasets[0]
    for dataset in datasets:
        if dataset.task.spatial_dims != first.task.spatial_dims:
            raise DataError(
                f"Data sets searched together are all flat or all volumes; {first.name} has {first.task.spatial_dims} "
                f"dimensions, {dataset.name} {dataset.task.spatial_dims}. Leave one out."
            )
        if dataset.images.shape is None or dataset.task.image_size != first.task.image_size:
            mine, theirs = ("x".join(map(str, one.task.image_size)) for one in (first, dataset))
            told = f"{first.name} has {mine}, {dataset.name} {theirs}" if mine != theirs else f"{dataset.name} has many"
            raise SettingsError(
                f"Data sets searched together need one image size; {told}. Set it with --set search.image_size=PIXELS."
            )
