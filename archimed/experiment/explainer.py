"""One trained network while it explains cases: its maps, their pictures and heat maps, and the deletion test."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.data.placing import Place
from archimed.evaluation.settings import EvaluationSettings
from archimed.experiment.explained_cases import PickedCase, explained_outputs
from archimed.experiment.heat_pictures import slice_shares, write_panels
from archimed.experiment.networks import StoredNetwork
from archimed.experiment.sources import safe_names
from archimed.experiment.trainings import Trained
from archimed.explain.cam import ClassMap, class_maps
from archimed.explain.deletion import CaseDeletion, blurred_image, deletion
from archimed.explain.heat_map import carried, own_affine, write_nifti
from archimed.seeding import numpy_generator
from archimed.training.machine import Machine
from archimed.training.prediction import VALUES_AT_ONCE, probabilities

SOURCE_GRID = "the grid of the input file"
PREPARED_GRID = "the grid of the image as the network sees it, for the data do not tell where it lies"


@dataclass(frozen=True)
class Explainer:
    """One training of a network, and what its cases are of.

    Attributes:
        trained: its fold, seed and data set.
        stored: the network, on the machine.
        dataset: the data set.
        machine: how to compute.
        settings: whether pictures may be drawn.
        seed: of the run.
    """

    trained: Trained
    stored: StoredNetwork
    dataset: Dataset
    machine: Machine
    settings: EvaluationSettings
    seed: int

    def image(self, case: str) -> Float[Tensor, "1 channel *space"]:
        """The normalised image of a case, on the machine."""
        raw = self.dataset.images[self.dataset.rows([case])[0]]
        return self.machine.place_images(self.stored.normalise(raw[None]))

    def probabilities(self, images: Float[Tensor, "image channel *space"]) -> Float[Tensor, "image class"]:
        """Of normalised images, a few at a time."""
        at_once = max(1, VALUES_AT_ONCE // math.prod(images.shape[1:]))
        with torch.inference_mode():
            logits = [self.stored.network(self.machine.place_images(part)) for part in images.split(at_once)]
        return probabilities(torch.cat(logits).float(), self.stored.task.kind)

    def split_of(self, case: str) -> str:
        """The split of a case in the fold of this training."""
        fold = self.dataset.folds[self.trained.fold]
        return next(name for name in SPLIT_NAMES if case in fold.split(name))

    def answer(self, case: str) -> Float[np.ndarray, " class"]:
        """Probabilities of the classes of a case."""
        found: Float[np.ndarray, " class"] = self.probabilities(self.image(case))[0].cpu().numpy()
        return found

    def map_of(self, case: str, outputs: list[int]) -> list[ClassMap]:
        """The maps of some classes of a case; SettingsError if the network has none."""
        return class_maps(self.stored.network, self.image(case), outputs)


def deleted(own: Explainer, case: str) -> CaseDeletion:
    """The deletion test of the answered class of one case; regions of interest stay as they are."""
    image, output = own.image(case)[0], int(own.answer(case).argmax())
    (found,) = own.map_of(case, [output])
    space = tuple(image.shape[1:])
    kinds = own.dataset.channel_kinds
    areas = deletion(
        lambda images: own.probabilities(images)[:, output],
        image,
        blurred_image(image, [channel for channel, kind in enumerate(kinds) if kind == "mask"]),
        found.on_image(space),
        found.cells if found.slice is None else (1, *found.cells),
        numpy_generator(own.seed, "deletion", case),
    )
    return CaseDeletion(case, own.dataset.cases[own.dataset.rows([case])[0]].patient, *areas)


def explained(own: Explainer, picked: PickedCase, folder: Path, stem: str, place: Place | None) -> dict[str, Any]:
    """Write pictures and heat maps of one case, and tell of them as maps.json does."""
    row = own.dataset.rows([picked.case])[0]
    task, target = own.stored.task, own.dataset.target[row].numpy()
    answer = own.answer(picked.case)
    outputs = explained_outputs(task, answer, target, picked.outputs)
    names = dict(zip(outputs, safe_names([task.class_names[output] for output in outputs]), strict=True))
    maps = dict(zip(outputs, own.map_of(picked.case, outputs), strict=True))
    space = own.dataset.images.shapes[row][1:]
    heats = {output: one.on_image(space).numpy() for output, one in maps.items()}
    setting = own.settings.pictures
    pictured = setting == "always" or (setting == "auto" and not own.dataset.cases[row].from_dicom)
    spacing = own.dataset.spacing[row] if own.dataset.spacing else None
    drawn = [(names[output], heats[output], depth_cells(maps[output])) for output in outputs] if pictured else []
    image = own.dataset.images[row].numpy()
    panels = write_panels(folder, stem, image, own.dataset.channel_kinds, spacing, drawn)
    told = []
    for number, output in enumerate(outputs):
        file = f"{stem}-{names[output]}.nii.gz"
        told.append(
            {"class": task.class_names[output]}
            | facts_of(maps[output], heats[output], place)
            | written(folder / file, heats[output], spacing, place)
            | {"panels": panels[number] if pictured else []}
        )
    shown = true_names(own, row)
    return {
        "case": picked.case,
        "why": picked.why,
        "split": own.split_of(picked.case),
        "fold": own.trained.fold,
        "seed": own.trained.seed,
        "truth": shown,
        "probabilities": {name: float(value) for name, value in zip(task.class_names, answer, strict=True)},
        "pictured": pictured,
        "channels": list(own.dataset.channel_names),
        "size": list(space),
        "maps": told,
    }


def depth_cells(found: ClassMap) -> int:
    """Cells of a map along the depth of a volume; as many as need be where one slice is looked at."""
    return 2**20 if found.slice is not None else found.cells[0]


def true_names(own: Explainer, row: int) -> list[str]:
    """The classes or labels that a case has."""
    task, target = own.stored.task, own.dataset.target[row]
    if task.kind != "multi-label":
        return [task.class_names[int(target)]]
    return [name for name, value in zip(task.class_names, target.tolist(), strict=True) if value == 1]


def facts_of(found: ClassMap, heat: Float[np.ndarray, "*space"], place: Place | None) -> dict[str, Any]:
    """What maps.json tells of a map: its kind, what of the logit it tells, and where it is highest."""
    voxel = np.unravel_index(int(heat.argmax()), heat.shape)
    mm = None if place is None else (place.prepared @ [*voxel, 1])[:3].tolist()
    return {
        "kind": found.kind,
        "logit": found.logit,
        "elsewhere": found.elsewhere,
        "maps": [
            {"module": one.module, "cells": list(one.cells.shape), "mean": float(one.cells.mean())}
            for one in found.evidence
        ],
        "highest": float(heat.max()),
        "hottest": {"voxel": [int(at) for at in voxel], "mm": mm},
        "slices": slice_shares(heat).tolist() if heat.ndim == 3 else None,
    }


def written(
    path: Path, heat: Float[np.ndarray, "*space"], spacing: tuple[float, ...] | None, place: Place | None
) -> dict[str, str]:
    """Write a heat map, on the grid of the input file where that is known, and tell which grid it has."""
    if place is not None:
        write_nifti(path, carried(heat, place.prepared, place.source), place.source.affine)
    else:
        write_nifti(path, heat, own_affine(spacing, heat.ndim))
    return {"heat_map": path.name, "grid": PREPARED_GRID if place is None else SOURCE_GRID}
