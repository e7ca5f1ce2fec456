"""The images that a run is asked about, read one by one: those that cannot be used are told, the others go on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from archimed.data.normalisation import FULL_SCALE
from archimed.data.unlabelled import Source, UnlabelledCase
from archimed.errors import DataError
from archimed.experiment.ensemble import Ensemble
from archimed.task import ImagingTask

CASES_AT_ONCE, VALUES_AT_ONCE = 256, 2**22  # of images held in memory together


@dataclass(frozen=True)
class Failed:
    """A case that has no answer.

    Attributes:
        case: its id.
        image: what the user knows it by.
        reason: one line.
    """

    case: str
    image: str
    reason: str


def readable(
    ensemble: Ensemble, cases: Sequence[UnlabelledCase], stored: str, failed: list[Failed]
) -> Iterator[tuple[UnlabelledCase, Tensor, Source]]:
    """The cases that can be used, with their images and where these come from; the others go to `failed`.

    Args:
        ensemble: the networks.
        cases: all cases.
        stored: the number type that the run's images have.
        failed: grows.
    """
    for case in cases:
        try:
            image, source = read_case(ensemble, case, stored)
        except DataError as error:
            failed.append(Failed(case.id, case.name, " ".join(str(error).split())))
        else:
            yield case, image, source


def read_parts(
    ensemble: Ensemble, cases: Sequence[UnlabelledCase], stored: str, failed: list[Failed]
) -> Iterator[tuple[list[UnlabelledCase], list[Tensor]]]:
    """The cases that can be used with their images, as many at a time as memory is meant for."""
    at_once = max(1, min(CASES_AT_ONCE, VALUES_AT_ONCE // max(1, prod(ensemble.task.image_size))))
    for start in range(0, len(cases), at_once):
        part = [(case, image) for case, image, _ in readable(ensemble, cases[start : start + at_once], stored, failed)]
        if part:
            yield [case for case, _ in part], [image for _, image in part]


def read_case(ensemble: Ensemble, case: UnlabelledCase, stored: str) -> tuple[Tensor, Source]:
    """One image as it is stored for the networks.

    Args:
        ensemble: the networks.
        case: the case.
        stored: the number type that the run's images have.

    Raises:
        DataError: it cannot be read, or is not what the networks see.
    """
    image, source = case.read()
    task = ensemble.task
    if image.ndim - 1 != task.spatial_dims:
        what = {2: "flat images", 3: "volumes"}
        raise DataError(
            f"The network sees {what[task.spatial_dims]}; {case.name} has {image.ndim - 1} axes. "
            f"{'Name the folder of the series.' if task.spatial_dims == 3 else 'Give single images.'}"
        )
    if len(image) != task.channels:
        raise DataError(wrong_channels(task, case.name, len(image)))
    check_type(str(image.dtype).removeprefix("torch."), stored, case.name)
    if image.is_floating_point() and not bool(torch.isfinite(image).all()):
        raise DataError(f"Pixels must be finite numbers; {case.name} holds NaN or infinity. Repair or leave it out.")
    return image, source


def check_type(mine: str, stored: str, name: str) -> None:
    """Raise DataError if a picture has other full scales than the run's: what is white in one is dark in the other."""
    full = {str(dtype).removeprefix("torch."): scale for dtype, scale in FULL_SCALE.items()}
    if mine != stored and mine in full and stored in full:
        raise DataError(
            f"The run's images are {stored}, up to {full[stored]:g}; {name} is {mine}, up to {full[mine]:g}. "
            "Save it like them."
        )


def wrong_channels(task: ImagingTask, name: str, found: int) -> str:
    """What is said of an image with another number of channels than the network sees."""
    if len(task.channel_names) - task.has_region > 1:
        return (
            f"The network fuses {', '.join(task.channel_names)}; {name} is one image. Give one --modality NAME=FILE "
            f"for each, or a table with columns image_{task.channel_names[0]}, image_{task.channel_names[1]}."
        )
    option = f", or write ?channels={task.channels} after its name" if {found, task.channels} == {1, 3} else ""
    return f"The network sees {task.channels} channels; {name} has {found}. Convert it{option}."
