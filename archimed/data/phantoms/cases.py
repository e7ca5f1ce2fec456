"""The patients of a phantom and the random streams that draw them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archimed.data.dataset import Case
from archimed.seeding import numpy_generator


@dataclass(frozen=True)
class Shot:
    """One image to draw.

    Attributes:
        patient: number of the patient.
        scene: the patient's own stream: it draws the same anatomy for each of the patient's images.
        view: the image's own stream: pose, exposure.
        grain: the stream of the noise in each pixel; apart, so that the scene is the same at every size.
    """

    patient: int
    scene: np.random.Generator
    view: np.random.Generator
    grain: np.random.Generator


def shots(name: str, seed: int, count: int, most: int = 2) -> list[Shot]:
    """`count` images of patients who have 1 to `most` neighbouring images each.

    Every image has streams of its own, so it does not depend on how many are drawn nor in which order.
    """
    each = numpy_generator(seed, "phantom", name, "patients").integers(1, most + 1, count)
    patients = np.repeat(np.arange(count), each)[:count].tolist()
    return [
        Shot(
            patient,
            numpy_generator(seed, "phantom", name, "scene", patient),
            numpy_generator(seed, "phantom", name, "view", row),
            numpy_generator(seed, "phantom", name, "grain", row),
        )
        for row, patient in enumerate(patients)
    ]


def balanced_classes(name: str, seed: int, images: Sequence[Shot], classes: int) -> list[int]:
    """The class of each image: equally many patients of each class, all images of a patient of one class."""
    patients = images[-1].patient + 1
    order = numpy_generator(seed, "phantom", name, "classes").permutation(patients) % classes
    return [int(order[image.patient]) for image in images]


def cases_of(name: str, images: Sequence[Shot], areas: Sequence[float | None] | None = None) -> tuple[Case, ...]:
    """The cases of these images; `areas`: the share of each image that its lesion covers."""
    return tuple(
        Case(
            id=f"{name}-{row:05d}",
            patient=f"phantom-{image.patient:05d}",
            lesion_area=None if areas is None else areas[row],
            origin=f"image {row} of phantom:{name}",
        )
        for row, image in enumerate(images)
    )
