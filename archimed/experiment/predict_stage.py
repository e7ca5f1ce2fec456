"""Predictions of a finished run for images without labels: probabilities of classes, or masks on the images' grids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.normalisation import FULL_SCALE
from archimed.data.problems import Problems
from archimed.data.unlabelled import Source, UnlabelledCase, unlabelled_cases
from archimed.errors import DataError, RunError, SettingsError
from archimed.evaluation.temperature import tempered
from archimed.experiment.asked_form import fingerprint, form_of
from archimed.experiment.ensemble import Ensemble, called, load_ensemble
from archimed.experiment.mask_files import answered_mask, pixel_volume_ml, write_mask
from archimed.experiment.prediction_files import table_of
from archimed.experiment.progress import Observer, Silent
from archimed.experiment.unlike import unlike_training
from archimed.files import write_json, write_text
from archimed.task import ImagingTask

CASES_AT_ONCE, VALUES_AT_ONCE = 256, 2**22  # of images held in memory together
TABLE, DOCUMENT = "predictions.csv", "predictions.json"


@dataclass(frozen=True)
class Question:
    """What is asked of a run.

    Attributes:
        images: files, folders or data sources.
        by_modality: the files of one more case.
        region: mask of the region of interest of cases that are files.
        network: its name; None takes the chosen one.
        members: names of its trainings; none takes every fold and seed.
        dataset: whose networks, in a run of several data sets.
        flips: average over mirror images.
        calibrated: probabilities by the temperature that validation gave.
        device: where to compute; None takes that of the run.
    """

    images: tuple[str, ...] = ()
    by_modality: Mapping[str, Path] | None = None
    region: Path | None = None
    network: str | None = None
    members: tuple[str, ...] = ()
    dataset: str | None = None
    flips: bool = False
    calibrated: bool = True
    device: str | None = None


def predict_run(run: Path, asked: Question, out: Path | None, observer: Observer) -> dict[str, Any]:
    """Answer for images as a run's networks do, and write the answers.

    Args:
        run: an evaluated run.
        asked: the images, and by which networks.
        out: a new .csv file, or a new or empty folder; None writes nothing, which masks do not allow.
        observer: hears of progress.

    Returns:
        What predictions.json says: the networks, how they are calibrated, cautions, and the answer for each case.

    Raises:
        RunError: the run is not evaluated, lacks what is asked for, or something stands in the place of `out`.
        SettingsError: masks without a folder, or a data set is to be named.
        DataError: an image cannot be used.
    """
    observer.stage("load networks")
    ensemble = load_ensemble(run, asked.network, asked.members, asked.dataset, flips=asked.flips, device=asked.device)
    check_place(out, ensemble)
    problems = Problems(strict=True)
    cases = unlabelled_cases(
        asked.images, form_of(ensemble), problems, by_modality=asked.by_modality, region=asked.region
    )
    observer.stage("predict")
    of_masks = ensemble.task.kind == "segmentation"
    told = list((mask_answers if of_masks else class_answers)(ensemble, cases, asked, out, observer))
    document = {**heading(ensemble, asked), "cautions": [*cautions_of(ensemble, asked, told), *problems.cautions]}
    document["cases"] = told
    if out is not None and out.suffix.lower() == ".csv":
        write_text(out, table_of(document))
    elif out is not None:
        write_text(out / TABLE, table_of(document))
        write_json(out / DOCUMENT, document)
    return document


def check_place(out: Path | None, ensemble: Ensemble) -> None:
    """Raise an error if the answers have no place, or another file stands there."""
    if ensemble.task.kind == "segmentation" and (out is None or out.suffix.lower() == ".csv"):
        raise SettingsError("Masks are files in a folder of their own. Name it with --out DIR.")
    if out is None:
        return
    is_table = out.suffix.lower() == ".csv"
    if out.exists() and (is_table or not out.is_dir() or any(out.iterdir())):
        raise RunError(f"Answers go to a new file or folder; {out} is there already. Choose another --out.")


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


def class_answers(
    ensemble: Ensemble, cases: Sequence[UnlabelledCase], asked: Question, out: Path | None, observer: Observer
) -> Iterator[dict[str, Any]]:
    """The classes or labels of each case; a few are read and predicted together."""
    del out
    kind, told = ensemble.task.kind, fingerprint(ensemble)
    temperature = ensemble.temperature if asked.calibrated else None
    done = 0
    for part, images in read_parts(ensemble, cases, told["images"]["type"]):
        raw = ensemble.probabilities(Arrays.of(images))
        shown = raw if temperature is None else tempered(kind, raw, temperature)
        for case, image, answer, row in zip(part, images, called(ensemble, raw), shown, strict=True):
            yield {
                "case": case.id,
                "image": case.name,
                "predicted": list(answer) if kind == "multi-label" else answer[0],
                "probabilities": {
                    name: float(value) for name, value in zip(ensemble.task.class_names, row, strict=True)
                },
                "caution": unlike_training(image, told),
            }
        done += len(part)
        observer.progress(done, len(cases), "cases")


def read_parts(
    ensemble: Ensemble, cases: Sequence[UnlabelledCase], stored: str
) -> Iterator[tuple[list[UnlabelledCase], list[Tensor]]]:
    """The cases with their images, as many at a time as memory is meant for."""
    at_once = max(1, min(CASES_AT_ONCE, VALUES_AT_ONCE // max(1, prod(ensemble.task.image_size))))
    for start in range(0, len(cases), at_once):
        part = list(cases[start : start + at_once])
        yield part, [read_case(ensemble, case, stored)[0] for case in part]


def mask_answers(
    ensemble: Ensemble, cases: Sequence[UnlabelledCase], asked: Question, out: Path | None, observer: Observer
) -> Iterator[dict[str, Any]]:
    """The mask of each case, written as soon as it is there."""
    del asked
    if out is None:
        raise ValueError("Masks need a folder.")
    told, names = fingerprint(ensemble), ensemble.task.class_names
    for number, case in enumerate(cases, start=1):
        image, source = read_case(ensemble, case, told["images"]["type"])
        probabilities: Float[np.ndarray, "class *space"] = ensemble.mask(image).numpy()
        mask = answered_mask(probabilities, source)
        path = write_mask(out, case.id, mask, source)
        yield {
            "case": case.id,
            "image": case.name,
            "mask": path.name,
            **sizes_of(mask, names, pixel_volume_ml(source)),
            "caution": unlike_training(image, told),
        }
        observer.progress(number, len(cases), "cases")


def sizes_of(
    mask: Shaped[np.ndarray, "*space"], names: Sequence[str], millilitres: float | None
) -> dict[str, dict[str, float]]:
    """Pixels of each class but the background, and millilitres where voxels have a size."""
    counts = np.bincount(mask.ravel(), minlength=len(names))[1:]
    pixels = dict(zip(names[1:], counts.tolist(), strict=True))
    if millilitres is None:
        return {"pixels": pixels}
    return {"pixels": pixels, "millilitres": {name: float(count * millilitres) for name, count in pixels.items()}}


def heading(ensemble: Ensemble, asked: Question) -> dict[str, Any]:
    """Which networks answered, and how their probabilities are to be read."""
    used = ensemble.temperature if asked.calibrated else None
    return {
        "run": ensemble.run.resolve().name,
        "network": ensemble.trained[0].network,
        "members": [one.path.name for one in ensemble.trained],
        "task": ensemble.task.kind,
        "classes": list(ensemble.task.class_names),
        "flips": ensemble.flips,
        "calibration": "none" if used is None else f"temperature {used:.4g}",
        "temperature": used,
        "thresholds": dict(zip(ensemble.task.class_names, ensemble.thresholds, strict=False)),
    }


def cautions_of(ensemble: Ensemble, asked: Question, told: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the answers must know."""
    found = []
    if ensemble.task.kind != "segmentation" and asked.calibrated and ensemble.temperature is None:
        found.append(
            "The probabilities are not calibrated: too few validation cases, or all of one class, to fit a temperature."
        )
    if odd := [case for case in told if case["caution"]]:
        names = ", ".join(str(case["case"]) for case in odd[:3]) + (" ..." if len(odd) > 3 else "")
        found.append(
            f"{len(odd)} of {len(told)} images are unlike those of the run ({names}): {odd[0]['caution']}. "
            "Their answers mean little."
        )
    return found


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    network: str | None = None,
    dataset: str | None = None,
    flips: bool = False,
    calibrated: bool = True,
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Answers of a finished run for images, as `archimed predict` gives them.

    Args:
        run: the run's folder.
        images: files, folders or data sources.
        out: a new .csv file or a folder; masks need a folder.
        network: its name; None takes the chosen one, the mean of all its folds and seeds.
        dataset: whose networks, in a run of several data sets.
        flips: average over mirror images.
        calibrated: probabilities by the temperature that validation gave.
        observer: hears of progress; silent if left out.

    Returns:
        What predictions.json says; `cases` holds the answer for each.

    Raises:
        ArchimedError: the run or the images do not allow it; the message says what to do.
    """
    words = (images,) if isinstance(images, str | Path) else images
    asked = Question(tuple(map(str, words)), None, None, network, (), dataset, flips, calibrated)
    return predict_run(Path(run), asked, None if out is None else Path(out), observer or Silent())
