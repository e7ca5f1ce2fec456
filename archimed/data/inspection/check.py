"""`archimed data check`: read every case once and tell all that is wrong, instead of stopping at the first flaw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from archimed.data.arrays import Arrays
from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.data.inspection.describe import class_counts, describe, describe_images, look, spacing_of, split_sizes
from archimed.data.inspection.duplicates import Duplicates, crossing_fold, find_duplicates, split_numbers
from archimed.data.inspection.survey import Progress
from archimed.data.problems import Problem, Problems
from archimed.data.readers.any_image import is_image, read_image
from archimed.data.settings import DataSettings
from archimed.data.source import read_source
from archimed.data.volume import Volume
from archimed.errors import DataError

EXAMPLES = 3  # pairs named in a message

Splits = Int[np.ndarray, "fold case"]


@dataclass(frozen=True)
class DataCheck:
    """What a check found.

    Attributes:
        source: what the user typed.
        data: what the data hold, as `describe` tells it, with `divisions` (per fold and split: cases, patients,
            classes) and `duplicates`; of an image without labels only its size and values; None if nothing was read.
        problems: one line each, in the order of reading.
    """

    source: str
    data: dict[str, Any] | None
    problems: tuple[Problem, ...]

    @property
    def fatal(self) -> bool:
        """Whether a run on these data would stop with an error."""
        return any(problem.fatal for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "source": self.source,
            "fatal": self.fatal,
            "data": self.data,
            "problems": [{"message": problem.message, "fatal": problem.fatal} for problem in self.problems],
        }


def check_dataset(source: str, settings: DataSettings, seed: int, progress: Progress | None = None) -> DataCheck:
    """Read the data as a run would, and collect every flaw; `progress` is told of files read, then of cases seen."""
    problems = Problems(strict=False)
    try:
        dataset = read_source(source, settings, seed, problems, progress)
    except DataError as error:
        return _refused(source, error, problems)
    seen = look(dataset, with_signatures=True, progress=progress)
    duplicates = find_duplicates(dataset, seen.digests, seen.signatures)
    splits = split_numbers(dataset)
    _report_equal(dataset, duplicates, splits, problems)
    _report_alike(dataset, duplicates, splits, problems)
    for note in dataset.notes:
        problems.caution(note)
    data = describe(dataset, seen)
    for secret in ("patient_hashes", "checksum", "notes"):
        del data[secret]
    data["divisions"] = [
        {
            name: {**sizes, "classes": class_counts(dataset, k)[name]}
            for name, sizes in split_sizes(dataset, fold).items()
        }
        for k, fold in enumerate(dataset.folds)
    ]
    data["duplicates"] = _duplicates(dataset, duplicates, splits)
    return DataCheck(source, data, tuple(problems.found))


def unlabelled(source: str) -> Volume | None:
    """The image, if `source` is a single image file or the folder of one DICOM series; None if it is neither.

    Raises:
        DataError: if it is damaged.
    """
    path = Path(source).expanduser()
    return read_image(path, "the data") if path.exists() and is_image(path) else None


def check_image(source: str, volume: Volume) -> DataCheck:
    """What is known of a single image, and that a run needs labels."""
    images = Arrays.of([torch.from_numpy(np.ascontiguousarray(volume.pixels))])
    found = {
        "name": Path(source).name,
        "source_kind": "image",
        "cases": 1,
        "spacing_mm": spacing_of([volume.spacing]),
        **describe_images(images, (volume.kind,) * len(volume.pixels)),
        "remarks": list(volume.remarks),
    }
    flaw = (
        f"A run needs images with labels; {source} is one image without any. List the images in a table (.csv) "
        "with the columns `image` and `label` or `mask`."
    )
    return DataCheck(source, found, (Problem(flaw, fatal=True),))


def _refused(source: str, error: DataError, problems: Problems) -> DataCheck:
    """The check of data that are no data set."""
    try:
        volume = unlabelled(source)
    except DataError as damage:
        error, volume = damage, None
    if volume is not None:
        return check_image(source, volume)
    problems.add(Problem(str(error), fatal=True))
    return DataCheck(source, None, tuple(problems.found))


def _report_equal(dataset: Dataset, duplicates: Duplicates, splits: Splits, problems: Problems) -> None:
    """One line for each image that lies in several splits; one for all that several patients have."""
    patients = 0
    for rows in duplicates.equal:
        fold = crossing_fold(rows, splits)
        if fold is None:
            patients += dataset.patients_known and len({dataset.cases[row].patient for row in rows}) > 1
            continue
        first_of_split = {int(splits[fold, row]): row for row in reversed(rows) if splits[fold, row] >= 0}
        places = [f"{_place(dataset, row)} ({SPLIT_NAMES[number]})" for number, row in sorted(first_of_split.items())]
        where = f" of fold {fold}" if len(splits) > 1 else ""
        contradiction = ", with different labels" if _contradict(dataset, rows) else ""
        problems.caution(
            f"The same image lies in several splits{where}{contradiction}: {', '.join(places)}. Leave all but one out "
            "if a test is to count."
        )
    if patients:
        problems.caution(
            f"{patients} {'image occurs' if patients == 1 else 'images occur'} more than once within a split under "
            "different patients. Are the patients right?"
        )


def _report_alike(dataset: Dataset, duplicates: Duplicates, splits: Splits, problems: Problems) -> None:
    """One line for all pairs that look alike in different splits, one for those of different patients."""
    crossing = [pair for pair in duplicates.alike if crossing_fold(pair, splits) is not None]
    others = len(duplicates.alike) - len(crossing)
    if crossing:
        examples = "; ".join(" and ".join(_place(dataset, row) for row in pair) for pair in crossing[:EXAMPLES])
        problems.caution(
            f"{len(crossing)} {'pair' if len(crossing) == 1 else 'pairs'} of images in different splits look alike, as "
            f"one picture twice would: {examples}. Look at them with archimed data describe, and leave repeats out or "
            "give them one patient."
        )
    if others and dataset.patients_known:
        problems.caution(
            f"{others} {'pair' if others == 1 else 'pairs'} of images of different patients in one split look alike. "
            "Are the patients right?"
        )


def _place(dataset: Dataset, row: int) -> str:
    return dataset.cases[row].origin or dataset.cases[row].id


def _contradict(dataset: Dataset, rows: Sequence[int]) -> bool:
    target = torch.nan_to_num(dataset.target[list(rows)].double(), nan=-1.0)
    return bool((target != target[:1]).any())


def _duplicates(dataset: Dataset, found: Duplicates, splits: Splits) -> dict[str, Any]:
    alike = [
        {
            "cases": [dataset.cases[row].id for row in pair],
            "likeness": likeness,
            "across_splits": crossing_fold(pair, splits) is not None,
        }
        for pair, likeness in zip(found.alike, found.likeness, strict=True)
    ]
    return {
        "equal_images": sum(len(rows) - 1 for rows in found.equal),
        "equal_across_splits": sum(crossing_fold(rows, splits) is not None for rows in found.equal),
        "equal_with_different_labels": sum(_contradict(dataset, rows) for rows in found.equal),
        "alike_pairs": len(alike),
        "alike_across_splits": sum(pair["across_splits"] is True for pair in alike),
        "alike": alike,
    }
