"""Predictions of a finished run for images without labels: probabilities of classes, or masks on the images' grids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from archimed.data.arrays import Arrays
from archimed.data.problems import Problems
from archimed.data.unlabelled import UnlabelledCase, unlabelled_cases
from archimed.errors import DataError, RunError, SettingsError
from archimed.evaluation.temperature import tempered
from archimed.experiment.asked_form import fingerprint, form_of
from archimed.experiment.asked_images import Failed, read_parts, readable
from archimed.experiment.ensemble import Ensemble, called, load_ensemble
from archimed.experiment.mask_files import answered_mask, pixel_volume_ml, write_mask
from archimed.experiment.prediction_files import table_of
from archimed.experiment.progress import Observer, Silent
from archimed.experiment.unlike import unlike_training
from archimed.files import write_json, write_text

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
        What predictions.json says: the networks, how they are calibrated, cautions, the answer for each case, and
        which cases `failed`.

    Raises:
        RunError: the run is not evaluated, lacks what is asked for, or something stands in the place of `out`.
        SettingsError: masks without a folder, or a data set is to be named.
        DataError: what is named is not there, or no image can be used; then nothing is written.
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
    failed: list[Failed] = []
    told = list((mask_answers if of_masks else class_answers)(ensemble, cases, failed, asked, out, observer))
    if not told:
        raise DataError(none_usable(failed))
    document = {**heading(ensemble, asked), "cautions": [*cautions_of(ensemble, asked, told), *problems.cautions]}
    document |= {"cases": told, "failed": [asdict(one) for one in failed]}
    if out is not None and out.suffix.lower() == ".csv":
        write_text(out, table_of(document))
    elif out is not None:
        write_text(out / TABLE, table_of(document))
        write_json(out / DOCUMENT, document)
    return document


def none_usable(failed: Sequence[Failed]) -> str:
    """What is said where no case could be answered."""
    first = failed[0].reason
    return first if len(failed) == 1 else f"None of the {len(failed)} images can be used. The first: {first}"


def check_place(out: Path | None, ensemble: Ensemble) -> None:
    """Raise an error if the answers have no place, or another file stands there."""
    if ensemble.task.kind == "segmentation" and (out is None or out.suffix.lower() == ".csv"):
        raise SettingsError("Masks are files in a folder of their own. Name it with --out DIR.")
    if out is None:
        return
    is_table = out.suffix.lower() == ".csv"
    if out.exists() and (is_table or not out.is_dir() or any(out.iterdir())):
        raise RunError(f"Answers go to a new file or folder; {out} is there already. Choose another --out.")


def class_answers(
    ensemble: Ensemble,
    cases: Sequence[UnlabelledCase],
    failed: list[Failed],
    asked: Question,
    out: Path | None,
    observer: Observer,
) -> Iterator[dict[str, Any]]:
    """The classes or labels of each case; a few are read and predicted together."""
    del out
    kind, told = ensemble.task.kind, fingerprint(ensemble)
    temperature = ensemble.temperature if asked.calibrated else None
    done = 0
    for part, images in read_parts(ensemble, cases, told["images"]["type"], failed):
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
        observer.progress(done + len(failed), len(cases), "cases")


def mask_answers(
    ensemble: Ensemble,
    cases: Sequence[UnlabelledCase],
    failed: list[Failed],
    asked: Question,
    out: Path | None,
    observer: Observer,
) -> Iterator[dict[str, Any]]:
    """The mask of each case, written as soon as it is there."""
    del asked
    if out is None:
        raise ValueError("Masks need a folder.")
    told, names = fingerprint(ensemble), ensemble.task.class_names
    answerable = readable(ensemble, cases, told["images"]["type"], failed)
    for number, (case, image, source) in enumerate(answerable, start=1):
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
        observer.progress(number + len(failed), len(cases), "cases")


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
        What predictions.json says; `cases` holds the answers, and `failed` the cases that could not be used, each
        with its `reason`.

    Raises:
        ArchimedError: the run allows it not, or no image can be used; the message says what to do.
    """
    words = (images,) if isinstance(images, str | Path) else images
    asked = Question(tuple(map(str, words)), None, None, network, (), dataset, flips, calibrated)
    return predict_run(Path(run), asked, None if out is None else Path(out), observer or Silent())
