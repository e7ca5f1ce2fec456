"""The modalities of a fusion space, where the data name them and the settings do not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from archimed.experiment.settings import Experiment
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.task import ImagingTask


def with_named_modalities(experiment: Experiment, task: ImagingTask) -> Experiment:
    """The experiment with `space.modalities` as the channels are named, if it is not set; else as it is."""
    space = experiment.method.space
    if not isinstance(space, FusionCellSpace) or space.modalities is not None:
        return experiment
    return _with_modalities(experiment, space.named_modalities(task))


def with_recorded_modalities(experiment: Experiment, document: Mapping[str, Any]) -> Experiment:
    """The experiment with the modalities that a run recorded, if none are set."""
    space, recorded = experiment.method.space, document["space"].get("modalities")
    if not isinstance(space, FusionCellSpace) or space.modalities is not None or recorded is None:
        return experiment
    return _with_modalities(experiment, tuple(recorded))


def _with_modalities(experiment: Experiment, modalities: tuple[int, ...] | None) -> Experiment:
    space = replace(experiment.method.space, modalities=modalities)  # type: ignore[type-var]
    return replace(experiment, method=replace(experiment.method, space=space))  # type: ignore[type-var]
